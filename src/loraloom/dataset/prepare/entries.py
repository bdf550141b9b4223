"""What is to be prepared: the pictures and clips of a folder or of a stored dataset."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from loraloom.dataset import images, layouts, notes, reference
from loraloom.dataset.snapshot import Box, Concept, Contents
from loraloom.dataset.source import SourceFile, list_folder, name_key
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetProblems, FolderEmpty, FolderMissing
from loraloom.findings import Finding, Severity
from loraloom.settings import intake_limits


@dataclass(frozen=True)
class Entry:
    """One picture or clip of the source."""

    name: str
    path: Path
    caption: str
    concept: str
    is_clip: bool
    mask: Path | None = None
    crop: Box | None = None
    """The part of the upright picture that is used."""

    def digest(self) -> str:
        """SHA-256 over all that it is. Raises OSError."""
        files = [self.path] + [self.mask] * bool(self.mask)
        parts = [self.name, self.caption, self.concept, str(self.is_clip), str(self.crop)]
        for path in filter(None, files):
            with path.open("rb") as stream:
                parts.append(hashlib.file_digest(stream, "sha256").hexdigest())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Source:
    """A set, read but not opened."""

    title: str
    root: Path
    entries: tuple[Entry, ...]
    concepts: tuple[Concept, ...]
    findings: tuple[Finding, ...] = ()


def read_source(
    source: str, *, moving_gifs: bool, skip_broken: bool, mask_folder: Path | None = None
) -> Source:
    """A plain folder, in any layout that `import` knows, or NAME or NAME@HASH.

    `mask_folder`: masks by the names of their pictures go before those of the source. Raises
    FolderMissing, FolderEmpty, DatasetUnknown, DatasetDamaged, DatasetProblems.
    """
    if reference.is_stored(source):
        found = _stored(*reference.open_contents(source))
    else:
        found = _folder(Path(source), moving_gifs=moving_gifs, skip_broken=skip_broken)
    if not found.entries:
        raise FolderEmpty(f"{source} holds no picture or clip that can be prepared.")
    return _with_masks(found, mask_folder) if mask_folder else found


def _stored(stored: StoredDataset, contents: Contents) -> Source:
    entries = []
    for picture in contents.pictures:
        for sha256 in filter(None, (picture.sha256, picture.mask)):
            stored.objects.verify(sha256, picture.name)
        entries.append(
            Entry(
                picture.name,
                stored.objects.path(picture.sha256),
                picture.caption,
                picture.concept,
                picture.is_clip,
                stored.objects.path(picture.mask) if picture.mask else None,
                picture.crop,
            )
        )
    title = f"{stored.name}@{contents.hash[:12]}"
    return Source(title, stored.root, tuple(entries), contents.concepts)


def _folder(root: Path, *, moving_gifs: bool, skip_broken: bool) -> Source:
    if not root.is_dir():
        what = "is a file; name a folder" if root.exists() else "does not exist; check the path"
        raise FolderMissing(f"{root} {what}, or name a stored dataset.")
    listing = list_folder(root, intake_limits())
    reading = layouts.read(listing)
    findings = [f for f in (*listing.findings, *reading.findings) if f.code != "no_caption"]
    errors = [f for f in findings if f.severity is Severity.ERROR]
    if errors and not skip_broken:
        raise DatasetProblems([notes.sentence(finding) for finding in errors])
    entries = tuple(
        Entry(
            candidate.file.name,
            _place(candidate.file),
            candidate.caption,
            candidate.concept,
            _moves(candidate.file, moving_gifs=moving_gifs),
            _place(candidate.mask) if candidate.mask else None,
            candidate.crop,
        )
        for candidate in reading.candidates
    )
    used = {entry.concept for entry in entries}
    concepts = tuple(c for c in reading.concepts.values() if c.name in used)
    return Source(root.name, root, entries, concepts, tuple(findings))


def _with_masks(source: Source, folder: Path) -> Source:
    """The masks of `folder` in place of the source's own; each must fit one picture."""
    files = list_folder(folder, intake_limits()).files
    masks: dict[str, Path] = {}
    for file in files:
        if file.suffix in images.SUFFIXES:
            key = name_key(str(file.path.with_suffix(""))).removesuffix("-masklabel")
            masks[key] = _place(file)
    inside = folder.resolve()
    entries = []
    for entry in source.entries:
        if entry.path.resolve().is_relative_to(inside):
            continue  # read as a picture, for the folder lies in the source
        mask = None if entry.is_clip else _mask_of(entry, masks)
        entries.append(entry if mask is None else replace(entry, mask=mask))
    if not any(entry.mask for entry in entries):
        raise FolderEmpty(
            f"{folder} holds no mask: expected pictures with the names of those that they mask, "
            "such as 01.png for 01.jpg."
        )
    used = {entry.concept for entry in entries}
    concepts = tuple(concept for concept in source.concepts if concept.name in used)
    return Source(source.title, source.root, tuple(entries), concepts, source.findings)


def _mask_of(entry: Entry, masks: dict[str, Path]) -> Path | None:
    """By the picture's name with its folders, else without them."""
    path = Path(entry.name).with_suffix("")
    return masks.get(name_key(path.as_posix())) or masks.get(name_key(path.name))


def _place(file: SourceFile) -> Path:
    assert file.at is not None, "files of a folder lie somewhere"
    return file.at


def _moves(file: SourceFile, *, moving_gifs: bool) -> bool:
    return file.suffix in images.CLIP_SUFFIXES or (moving_gifs and file.suffix == ".gif")
