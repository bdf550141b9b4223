"""What an import brings, copied beside the dataset under its hash, decoded and synced."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from loraloom.dataset import crops, images, masks, notes
from loraloom.dataset.checking import Check, Content
from loraloom.dataset.images import MAX_FILE_MIB, Facts
from loraloom.dataset.layouts.reading import Candidate
from loraloom.dataset.snapshot import Box, Concept, Contents, Picture
from loraloom.dataset.source import SourceDamage, SourceFile
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CropInvalid, ImageUnreadable, IntakeRefused
from loraloom.files import sync_file, telling_failures
from loraloom.findings import Finding, Severity

THREADS = 4
NOT_SKIPPABLE = frozenset(
    ("not_a_zip", "zip_path", "zip_link", "zip_overlap", "zip_too_big", "too_many_files",
     "name_clash", "empty_dataset", "layout_broken", "no_caption")
)  # fmt: skip
"""What makes the whole source doubtful; with other errors the rest can be stored."""
EXCLUDED = frozenset(("image_too_small", "image_too_long"))
"""Sound pictures that no training could use: left out with a warning."""
STOPPED = "stopped"
"""In place of a hash: the source is not to be read any further."""

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
    masks: dict[str, str] = field(default_factory=dict)
    """Masks of such pictures that had none: SHA-256 of the picture -> of the mask."""

    def wanted(self, before: Contents) -> list[tuple[str, Path]]:
        """What of the staged is to be stored: nothing that was refused."""
        pictures = (*before.pictures, *self.pictures)
        used = {sha for picture in pictures for sha in (picture.sha256, picture.mask)}
        return [(sha, path) for sha, path in self.staged.items()
                if sha in used | set(self.masks.values())]  # fmt: skip

    def refuse_if_broken(self, *, skip_broken: bool) -> None:
        """Raise IntakeRefused with every error; `skip_broken` lets pass what can be left out."""
        errors = [f for f in self.findings if f.severity is Severity.ERROR]
        if skip_broken:
            errors = [f for f in errors if f.code in NOT_SKIPPABLE]
        if errors:
            raise IntakeRefused(
                [notes.sentence(finding) for finding in errors], [f.code for f in errors]
            )


@dataclass(frozen=True)
class Job:
    """One picture or clip that lies staged, and its mask if it has one, by their SHA-256."""

    candidate: Candidate
    sha256: str
    mask: str = ""


@dataclass
class Stage:
    """Copies files beside the dataset, under the hash of their bytes, and has them decoded."""

    dataset: StoredDataset
    folder: Path
    check: Check
    intake: Intake
    moving_gifs: bool = False
    threads: int = THREADS

    def run(self, candidates: Sequence[Candidate], progress: Progress) -> None:
        """All candidates in order, a few at once; results keep the order."""
        have = {picture.sha256: picture for picture in self.dataset.working.pictures}
        seen: dict[str, Candidate] = {}
        waiting: deque[tuple[Job, Future[Facts]]] = deque()
        with ThreadPoolExecutor(self.threads) as pool:
            for number, candidate in enumerate(candidates):
                progress(number, len(candidates))
                sha256 = self._copy(candidate.file)
                if sha256 == STOPPED:
                    break
                if sha256 is None or self._is_double(candidate, sha256, seen, have):
                    continue
                mask = self._copy(candidate.mask) if candidate.mask else ""
                if mask == STOPPED:
                    break
                if mask is None:
                    continue
                job = Job(candidate, sha256, mask)
                waiting.append((job, pool.submit(self._check, job)))
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
                sync_file(path)
            if candidate.caption not in ("", have[sha256].caption):
                self._warn("known_picture", name, "is in the dataset with another caption, which "
                           "was kept")  # fmt: skip
            if candidate.mask and other is candidate:
                self._mask_known(have[sha256], candidate.mask)
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

    def _mask_known(self, picture: Picture, file: SourceFile) -> None:
        """A mask for a picture that is in the dataset already."""
        sha256 = self._copy(file)
        if sha256 in (None, STOPPED, picture.mask):
            return
        assert sha256 is not None
        if picture.mask:
            self._warn("known_picture", file.name, "its picture is in the dataset with another "
                       "mask, which was kept")  # fmt: skip
            return
        try:
            self._check_mask(sha256, file.name, (picture.width_px, picture.height_px))
            self.intake.masks[picture.sha256] = sha256
        except ImageUnreadable as error:
            self._refuse(error, file.name)

    def _check(self, job: Job) -> Facts:
        """Decode, then sync: a file is complete before it gets its final name."""
        name, path = job.candidate.file.name, self._place(job.sha256)
        facts = self.check(path, name, self._content(job.candidate.file))
        if job.candidate.mask:
            told = self._check_mask(
                job.mask, job.candidate.mask.name, (facts.width_px, facts.height_px)
            )
            facts = replace(facts, notes=(*facts.notes, *told))
        if job.candidate.crop:
            _check_crop(job.candidate.crop, facts, name)
        sync_file(path)
        return facts

    def _check_mask(
        self, sha256: str, name: str, size: tuple[int, int]
    ) -> tuple[tuple[str, str], ...]:
        """Decode and sync a mask; returns its notes. Raises ImageUnreadable."""
        path = self._place(sha256)
        found = self.check(path, name, "mask")
        masks.check_size((found.width_px, found.height_px), size, name)
        sync_file(path)
        return found.notes

    def _content(self, file: SourceFile) -> Content:
        moves = file.suffix in images.CLIP_SUFFIXES or (self.moving_gifs and file.suffix == ".gif")
        return "clip" if moves else "picture"

    def _take(self, job: Job, coming: Future[Facts]) -> None:
        candidate = job.candidate
        name = candidate.file.name
        try:
            facts = coming.result()
        except ImageUnreadable as error:
            self._refuse(error, name)
            return
        for code, sentence in facts.notes:
            self._warn(code, name, sentence.removeprefix(f"{name}: "))
        self.intake.pictures.append(
            Picture(
                job.sha256, candidate.caption, candidate.concept, name,
                facts.width_px, facts.height_px, facts.kind, candidate.generated_by, job.mask,
                candidate.crop,
                frames=facts.frames, fps=facts.fps, duration_s=facts.duration_s,
            )
        )  # fmt: skip

    def _refuse(self, error: ImageUnreadable, name: str) -> None:
        make = notes.warning if error.code in EXCLUDED else notes.error
        self.intake.findings.append(make(error.code, name, str(error).removeprefix(f"{name}: ")))

    def _place(self, sha256: str) -> Path:
        """Where a file lies by now."""
        return self.intake.staged.get(sha256, self.dataset.objects.path(sha256))


def _check_crop(crop: Box, facts: Facts, name: str) -> None:
    """Raise ImageUnreadable where the crop is not possible."""
    try:
        if facts.frames:
            raise CropInvalid(f"{name}: is a clip; only pictures can be cropped")
        crops.check(crop, (facts.width_px, facts.height_px), name)
    except CropInvalid as error:
        raise ImageUnreadable(str(error), "crop_invalid") from error
