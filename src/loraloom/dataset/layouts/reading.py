"""What a layout makes of a source: pictures and clips with captions in concepts, not opened."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from loraloom.dataset import caption_file, images, masks, notes
from loraloom.dataset.snapshot import (
    MAIN,
    MAX_REPEATS,
    MAX_TRIGGER_CHARACTERS,
    Box,
    Concept,
    clean_name,
    folder_name,
)
from loraloom.dataset.source import Listing, SourceDamage, SourceFile, name_key
from loraloom.errors import CaptionUnreadable
from loraloom.findings import Finding

MAX_TABLE_BYTES = 64 * 2**20
"""Of a metadata file; 20,000 captions of 2 kB are 40 MB."""
MAX_DESCRIPTION_BYTES = 2**20
"""Of a TOML or YAML file that describes folders."""
MAX_CONCEPTS = 1000


@dataclass(frozen=True)
class Candidate:
    """One picture or clip of the source as its layout describes it."""

    file: SourceFile
    caption: str
    concept: str
    generated_by: str = ""
    mask: SourceFile | None = None
    crop: Box | None = None


class Tree:
    """The files of a source, found by name and by folder; a name is never a place on the disk.

    Those that are masks by where they lie are in `masks` and not among the files.
    """

    def __init__(self, files: Iterable[SourceFile]) -> None:
        pairing = masks.pair_up(files)
        self.files = pairing.files
        self.masks = pairing.masks
        """By the name of the picture."""
        self.findings = pairing.findings
        self._by_key = {name_key(file.name): file for file in self.files}
        self._folders: dict[str, list[SourceFile]] = defaultdict(list)
        for file in self.files:
            self._folders[posixpath.dirname(file.name)].append(file)

    @property
    def folders(self) -> list[str]:
        """Those that hold pictures; "" is the top."""
        return [name for name, files in self._folders.items() if any(map(is_item, files))]

    def find(self, folder: str, name: str) -> SourceFile | None:
        """The file that `name` means when it is read in `folder`."""
        joined = posixpath.normpath(posixpath.join(folder, name.replace("\\", "/")))
        return self._by_key.get(name_key(joined))

    def inside(self, folder: str) -> list[SourceFile]:
        """The files directly in a folder."""
        return self._folders.get(folder, [])

    def take_masks(self, folder: str, path: object, base: str) -> str | None:
        """Note masks that a description says are in the folder `path`; returns that folder."""
        place = self.folder_of_path(base, path) if isinstance(path, str) and path else None
        if place is None or place == folder:
            return None
        found = {name_key(file.path.stem): file for file in self.inside(place) if is_picture(file)}
        for picture in filter(is_picture, self.inside(folder)):
            if mask := found.get(name_key(picture.path.stem)):
                self.masks.setdefault(picture.name, mask)
        return place

    def folder_of_path(self, base: str, path: str) -> str | None:
        """The folder with pictures that a path written elsewhere means.

        Relative to `base`, or, as exports are moved, the one with the most parts in common.
        """
        path = path.replace("\\", "/").rstrip("/") or "."
        near = posixpath.normpath(posixpath.join(base, path))
        folders = {name_key(name or "."): name for name in self.folders}
        if name_key(near) in folders:
            return folders[name_key(near)]
        parts = name_key(path).split("/")
        for start in range(len(parts)):
            ending = "/".join(parts[start:])
            for key, name in folders.items():
                if key == ending or key.endswith(f"/{ending}"):
                    return name
        base_key = name_key(base or ".")
        return folders.get(base_key) if posixpath.isabs(path) else None


@dataclass
class Reading:
    """What was read, and what was found on the way."""

    layout: str
    candidates: list[Candidate] = field(default_factory=list)
    concepts: dict[str, Concept] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    _names: dict[Concept, str] = field(default_factory=dict)

    def add_concept(self, name: str, trigger: str = "", repeats: object = 1) -> str:
        """Note a concept, under the nearest possible name that is free; returns the name."""
        wanted = folder_name(name) or MAIN
        count = repeats if isinstance(repeats, int) and not isinstance(repeats, bool) else 0
        if not 1 <= count <= MAX_REPEATS:
            self.findings.append(
                notes.error(
                    "repeats_invalid", wanted, f"{repeats!r} repeats are not possible",
                    f"write a whole number from 1 to {MAX_REPEATS:,}",
                )
            )  # fmt: skip
            count = 1
        concept = Concept(wanted, clean_name(trigger)[:MAX_TRIGGER_CHARACTERS].strip(), count)
        if concept not in self._names:
            number = len(self._names) + 1
            name = f"{wanted[:55].strip(' .')} {number}" if wanted in self.concepts else wanted
            self._names[concept] = name
            self.concepts[name] = replace(concept, name=name)
        return self._names[concept]

    def add_beside(
        self,
        files: Sequence[SourceFile],
        concept: str,
        extensions: Sequence[str] = caption_file.SUFFIXES,
        fallback: str = "",
    ) -> None:
        """Pictures of one folder, each with the caption of its name beside it, or `fallback`."""
        pictures = _by_stem(file for file in files if is_item(file))
        captions = _by_stem(file for file in files if file.suffix in extensions)
        bare: list[SourceFile] = []
        for stem, twins in pictures.items():
            texts = captions.pop(stem, [])
            if len(texts) > 1 or (texts and len(twins) > 1):
                self._tell_ambiguous([*twins, *texts])
            elif texts:
                self._add_captioned(twins[0], texts[0], concept)
            else:
                self.candidates += [Candidate(twin, fallback, concept) for twin in twins]
                bare += twins if fallback else []
        if bare:
            self.findings.append(
                notes.hint(
                    "caption_from_folder",
                    bare[0].name,
                    f"{len(bare)} pictures of {concept!r}, this one first, have no caption file; "
                    f"they got {fallback!r}",
                )
            )
        for text in (file for left in captions.values() for file in left):
            self.findings.append(
                notes.warning("caption_without_picture", text.name, "a caption without a picture")
            )

    def add_text(
        self, file: SourceFile, text: str, concept: str, where: str, generated_by: str = ""
    ) -> None:
        """A picture whose caption stands in a table; `where` says in which line."""
        try:
            caption = caption_file.clean_caption(text, where)
        except CaptionUnreadable as error:
            self.findings.append(_of_caption(error, where))
            return
        self._note(where, caption)
        self.candidates.append(Candidate(file, caption.text, concept, generated_by))

    def read_table(self, file: SourceFile, most_bytes: int = MAX_TABLE_BYTES) -> str:
        """The text of a metadata or describing file; "" where it cannot be had."""
        try:
            return caption_file.decode_text(file.read(most_bytes), file.name)[0]
        except SourceDamage as damage:
            self.findings.append(notes.error(damage.code, file.name, str(damage)))
        except CaptionUnreadable as error:
            self.findings.append(_of_caption(error, file.name))
        return ""

    def tell_left_out(self, tree: Tree, places: str, read: Collection[str]) -> None:
        """Say how many pictures are in none of the folders that were `read`."""
        left = [f for f in tree.files
                if is_item(f) and posixpath.dirname(f.name) not in read]  # fmt: skip
        if left:
            self.findings.append(
                notes.warning(
                    "picture_not_listed", left[0].name,
                    f"{len(left)} pictures, this one first, are not in {places} and were left out",
                )
            )  # fmt: skip

    def _add_captioned(self, picture: SourceFile, text: SourceFile, concept: str) -> None:
        caption = ""
        try:
            parsed = caption_file.parse_caption(text.read(caption_file.MAX_BYTES * 2), text.name)
            self._note(text.name, parsed)
            caption = parsed.text
        except SourceDamage as damage:
            code = "caption_too_long" if damage.code == "file_too_big" else damage.code
            self.findings.append(notes.error(code, text.name, str(damage)))
            return
        except CaptionUnreadable as error:
            if error.code != "caption_empty":
                self.findings.append(_of_caption(error, text.name))
                return
        self.candidates.append(Candidate(picture, caption, concept))

    def _note(self, name: str, caption: caption_file.Caption) -> None:
        self.findings += [notes.warning("caption_mended", name, note) for note in caption.notes]

    def _tell_ambiguous(self, files: Sequence[SourceFile]) -> None:
        names = " and ".join(file.path.name for file in files)
        self.findings.append(
            notes.error(
                "ambiguous_caption", files[0].name, f"{names} share one name",
                "keep one picture and one caption of that name",
            )
        )  # fmt: skip


def is_item(file: SourceFile) -> bool:
    """Whether its name says that it is a picture or a clip."""
    return is_picture(file) or file.suffix in images.CLIP_SUFFIXES


def is_picture(file: SourceFile) -> bool:
    """Whether its name says that it is a picture, or a GIF."""
    return file.suffix in images.SUFFIXES


def tree_of(listing: Listing) -> Tree:
    """The files of a source to be looked up."""
    return Tree(listing.files)


def _by_stem(files: Iterable[SourceFile]) -> dict[str, list[SourceFile]]:
    found: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        found[name_key(file.path.stem)].append(file)
    return found


def _of_caption(error: CaptionUnreadable, name: str) -> Finding:
    return notes.error(error.code, name, str(error).removeprefix(f"{name}: "))
