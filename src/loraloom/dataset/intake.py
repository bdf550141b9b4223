"""Take pictures into a stored dataset: look at all of them, then store all or nothing."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from loraloom.dataset import layouts, notes
from loraloom.dataset.archive import list_archive, looks_like_archive
from loraloom.dataset.checking import Check, check_here
from loraloom.dataset.images import MAX_FILE_MIB, Facts
from loraloom.dataset.layouts.reading import Candidate, Reading
from loraloom.dataset.snapshot import Concept, Contents, Picture, in_use
from loraloom.dataset.source import Listing, SourceDamage, SourceFile, list_files, list_folder
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import FolderMissing, ImageUnreadable, IntakeRefused
from loraloom.files import telling_failures
from loraloom.findings import Finding, Severity
from loraloom.settings import IntakeLimits, intake_limits

THREADS = 4
NOT_SKIPPABLE = frozenset(
    ("not_a_zip", "zip_path", "zip_link", "zip_overlap", "zip_too_big", "too_many_files",
     "name_clash", "empty_dataset", "layout_broken", "no_caption")
)  # fmt: skip
"""What makes the whole source doubtful; with other errors the rest can be stored."""
EXCLUDED = frozenset(("image_too_small", "image_too_long"))
"""Sound pictures that no training could use: left out with a warning."""

Uncaptioned = Literal["keep", "trigger", "skip", "refuse"]
Progress = Callable[[int, int], None]


@dataclass
class Intake:
    """What a source would bring; its new pictures lie staged, checked and synced."""

    layout: str
    pictures: list[Picture] = field(default_factory=list)
    concepts: tuple[Concept, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    staged: dict[str, Path] = field(default_factory=dict)
    junk: int = 0
    known: int = 0
    """Pictures that the working set has already."""

    def refuse_if_broken(self, *, skip_broken: bool) -> None:
        """Raise IntakeRefused with every error; `skip_broken` lets pass what can be left out."""
        errors = [f for f in self.findings if f.severity is Severity.ERROR]
        if skip_broken:
            errors = [f for f in errors if f.code in NOT_SKIPPABLE]
        if errors:
            raise IntakeRefused(
                [notes.sentence(finding) for finding in errors], [f.code for f in errors]
            )


def list_source(paths: Sequence[Path], limits: IntakeLimits) -> Listing:
    """The files of a folder, of a ZIP, or of several of both and of files. Raises FolderMissing."""
    for path in paths:
        if not path.exists():
            raise FolderMissing(f"{path} does not exist; check the path")
    if len(paths) == 1:
        return _list_one(paths[0], limits)
    loose = [path for path in paths if not path.is_dir() and not looks_like_archive(path)]
    merged = list_files(loose)
    for path in paths:
        if path not in loose:
            part = _list_one(path, limits)
            merged.junk += part.junk
            merged.findings += part.findings
            for file in part.files:
                merged.files.append(SourceFile(f"{path.stem}/{file.name}", file.pieces))
    merged.findings = [f for f in merged.findings if f.code != "name_clash"]
    merged.check_clashes()
    return merged


@contextmanager
def examine(
    dataset: StoredDataset,
    listing: Listing,
    *,
    uncaptioned: Uncaptioned = "keep",
    check: Check = check_here,
    progress: Progress = lambda done, total: None,
) -> Iterator[Intake]:
    """Read and decode all that `listing` holds; nothing lies under a final name at the end.

    Under the dataset's lock (`changing`), which `store` needs too.
    """
    if any(finding.code in NOT_SKIPPABLE for finding in listing.findings):
        yield Intake("", findings=listing.findings, junk=listing.junk)
        return
    reading = layouts.read(listing)
    findings = [*listing.findings, *reading.findings]
    candidates = list(_captioned(reading, uncaptioned, findings))
    intake = Intake(reading.layout, findings=findings, junk=listing.junk)
    with dataset.staging() as folder:
        stage = _Stage(dataset, folder, check, intake)
        stage.run(candidates, progress)
        intake.concepts = in_use(reading.concepts.values(), intake.pictures)
        if not intake.pictures and not intake.known:
            findings.append(notes.error("empty_dataset", "", "No picture in it can be used"))
        yield intake


def store(dataset: StoredDataset, intake: Intake, *, skip_broken: bool = False) -> Contents:
    """Add what is new to the working set; it can be undone. Raises IntakeRefused."""
    intake.refuse_if_broken(skip_broken=skip_broken)
    dataset.objects.take(intake.staged.items())
    before = dataset.working
    known = {concept.name for concept in before.concepts}
    added = tuple(concept for concept in intake.concepts if concept.name not in known)
    contents = Contents((*before.pictures, *intake.pictures), (*before.concepts, *added))
    return dataset.put(contents, f"imported {len(intake.pictures)} pictures")


def import_into(
    dataset: StoredDataset,
    paths: Sequence[Path],
    *,
    skip_broken: bool = False,
    limits: IntakeLimits | None = None,
    uncaptioned: Uncaptioned = "keep",
    check: Check = check_here,
) -> Intake:
    """List, examine and store in one. Raises FolderMissing, IntakeRefused."""
    listing = list_source(paths, limits or intake_limits())
    with (
        dataset.changing(),
        examine(dataset, listing, uncaptioned=uncaptioned, check=check) as intake,
    ):
        store(dataset, intake, skip_broken=skip_broken)
    return intake


@dataclass
class _Stage:
    """Copies files beside the dataset, under the hash of their bytes, and has them decoded."""

    dataset: StoredDataset
    folder: Path
    check: Check
    intake: Intake
    threads: int = THREADS

    def run(self, candidates: Sequence[Candidate], progress: Progress) -> None:
        """All candidates in order, a few at once; results keep the order."""
        have = {picture.sha256: picture for picture in self.dataset.working.pictures}
        seen: dict[str, Candidate] = {}
        waiting: deque[tuple[Candidate, str, Future[Facts]]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            for number, candidate in enumerate(candidates):
                progress(number, len(candidates))
                sha256 = self._copy(candidate.file)
                if sha256 == STOPPED:
                    break
                if sha256 is None or self._is_double(candidate, sha256, seen, have):
                    continue
                path = self.intake.staged.get(sha256, self.dataset.objects.path(sha256))
                waiting.append((candidate, sha256, pool.submit(self._check, path, candidate)))
                if len(waiting) > 2 * self.threads:
                    self._take(*waiting.popleft())
            while waiting:
                self._take(*waiting.popleft())
        progress(len(candidates), len(candidates))

    def _copy(self, file: SourceFile) -> str | None:
        """The SHA-256 of the file, now staged; None where it cannot be had."""
        part = self.folder / "part"
        digest = hashlib.sha256()
        try:
            with telling_failures(part), part.open("wb") as stream:
                for piece in file.pieces():
                    digest.update(piece)
                    stream.write(piece)
                    if stream.tell() > MAX_FILE_MIB * 2**20:
                        raise SourceDamage("file_too_big", f"has more than {MAX_FILE_MIB} MiB")
        except SourceDamage as damage:
            part.unlink(missing_ok=True)
            self.intake.findings.append(notes.error(damage.code, file.name, str(damage)))
            return STOPPED if damage.code in NOT_SKIPPABLE else None
        sha256 = digest.hexdigest()
        if sha256 in self.intake.staged or self.dataset.objects.is_sound(sha256):
            part.unlink()
        else:
            self.intake.staged[sha256] = part.rename(self.folder / sha256)
        return sha256

    def _is_double(
        self,
        candidate: Candidate,
        sha256: str,
        seen: dict[str, Candidate],
        have: dict[str, Picture],
    ) -> bool:
        """Whether the picture is there already; says so where caption or concept differ."""
        name, other = candidate.file.name, seen.setdefault(sha256, candidate)
        if sha256 in have:
            self.intake.known += other is candidate
            if path := self.intake.staged.get(sha256):  # the stored one was damaged
                _sync(path)
            if candidate.caption not in ("", have[sha256].caption):
                self._warn("known_picture", name, "is in the dataset with another caption, which "
                           "was kept")  # fmt: skip
            return True
        if other is candidate:
            return False
        if other.concept != candidate.concept:
            self._warn("concept_overlap", name, f"is the same picture as {other.file.name} of the "
                       f"concept {other.concept!r}, where it was kept")  # fmt: skip
        elif other.caption != candidate.caption:
            self._warn("duplicate", name, f"is the same picture as {other.file.name} with another "
                       "caption; that of the latter was kept")  # fmt: skip
        else:
            self.intake.findings.append(
                notes.hint("duplicate", name, f"is the same picture as {other.file.name}")
            )
        return True

    def _warn(self, code: str, name: str, message: str) -> None:
        self.intake.findings.append(notes.warning(code, name, message))

    def _check(self, path: Path, candidate: Candidate) -> Facts:
        """Decode, then sync: a file is complete before it gets its final name."""
        facts = self.check(path, candidate.file.name)
        _sync(path)
        return facts

    def _take(self, candidate: Candidate, sha256: str, coming: Future[Facts]) -> None:
        name = candidate.file.name
        try:
            facts = coming.result()
        except ImageUnreadable as error:
            make = notes.warning if error.code in EXCLUDED else notes.error
            message = str(error).removeprefix(f"{name}: ")
            self.intake.findings.append(make(error.code, name, message))
            if path := self.intake.staged.pop(sha256, None):
                path.unlink(missing_ok=True)
            return
        for code, sentence in facts.notes:
            self._warn(code, name, sentence.removeprefix(f"{name}: "))
        self.intake.pictures.append(
            Picture(sha256, candidate.caption, candidate.concept, name, facts.width_px,
                    facts.height_px, facts.kind, candidate.generated_by)
        )  # fmt: skip


STOPPED = "stopped"
"""In place of a hash: the source is not to be read any further."""


def _sync(path: Path) -> None:
    with telling_failures(path), path.open("r+b") as stream:
        os.fsync(stream.fileno())


def _list_one(path: Path, limits: IntakeLimits) -> Listing:
    if path.is_dir():
        return list_folder(path, limits)
    return list_archive(path, limits) if looks_like_archive(path) else list_files([path])


def _captioned(
    reading: Reading, choice: Uncaptioned, findings: list[Finding]
) -> Iterable[Candidate]:
    """The candidates with what was chosen for those without caption; each is listed."""
    for candidate in reading.candidates:
        trigger = reading.concepts[candidate.concept].trigger
        if candidate.caption:
            yield candidate
        elif choice == "refuse":
            findings.append(
                notes.error("no_caption", candidate.file.name, "has no caption", "write one")
            )
        else:
            text = trigger if choice == "trigger" else ""
            done = "left out" if choice == "skip" else "given the trigger" if text else "kept so"
            findings.append(
                notes.warning("no_caption", candidate.file.name, f"has no caption: {done}")
            )
            if choice != "skip":
                yield replace(candidate, caption=text)
