"""Take pictures and clips into a stored dataset: look at all, then store all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from loraloom.dataset import layouts, notes
from loraloom.dataset.archive import list_archive, looks_like_archive
from loraloom.dataset.checking import Check, check_here
from loraloom.dataset.layouts.reading import Candidate, Reading
from loraloom.dataset.snapshot import Contents, in_use
from loraloom.dataset.source import Listing, list_files, list_folder, list_named, shown_name
from loraloom.dataset.staging import NOT_SKIPPABLE, Intake, Progress, Stage
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import FolderMissing
from loraloom.findings import Finding
from loraloom.settings import IntakeLimits, intake_limits

Uncaptioned = Literal["keep", "trigger", "skip", "refuse"]


def list_source(paths: Sequence[Path], limits: IntakeLimits) -> Listing:
    """The files of a folder, of a ZIP, or of several of both and of files. Raises FolderMissing."""
    for path in paths:
        if not path.exists():
            raise FolderMissing(f"{path} does not exist; check the path")
    if len(paths) == 1:
        return _list_one(paths[0], limits)
    loose = [path for path in paths if not path.is_dir() and not looks_like_archive(path)]
    merged = list_files(loose)
    parts = [(path.stem, _list_one(path, limits)) for path in paths if path not in loose]
    return _merged(merged, parts)


def list_uploads(files: Sequence[tuple[str, Path]], limits: IntakeLimits) -> Listing:
    """What was uploaded: names as the sender tells them, and where the bytes lie."""
    archives = [(name, path) for name, path in files if looks_like_archive(path, name)]
    loose = list_named([file for file in files if file not in archives], limits)
    if len(archives) == 1 and not loose.files:
        return list_archive(archives[0][1], limits, shown_name(archives[0][0]))
    parts = [
        (PurePosixPath(shown_name(name)).stem, list_archive(path, limits, shown_name(name)))
        for name, path in archives
    ]
    return _merged(loose, parts)


def _merged(loose: Listing, parts: Iterable[tuple[str, Listing]]) -> Listing:
    """Several sources as one: each of `parts` is a folder beside the loose files."""
    for folder, part in parts:
        loose.junk += part.junk
        loose.findings += part.findings
        for file in part.files:
            loose.files.append(replace(file, name=f"{folder}/{file.name}"))
    loose.findings = [f for f in loose.findings if f.code != "name_clash"]
    loose.check_clashes()
    return loose


@contextmanager
def examine(
    dataset: StoredDataset,
    listing: Listing,
    *,
    uncaptioned: Uncaptioned = "keep",
    check: Check = check_here,
    progress: Progress = lambda done, total: None,
    moving_gifs: bool = False,
) -> Iterator[Intake]:
    """Read and decode all that `listing` holds; nothing lies under a final name at the end.

    Under the dataset's lock (`changing`), which `store` needs too. `moving_gifs`: a GIF is a clip,
    not a picture.
    """
    if any(finding.code in NOT_SKIPPABLE for finding in listing.findings):
        yield Intake("", findings=listing.findings, junk=listing.junk)
        return
    reading = layouts.read(listing)
    findings = [*listing.findings, *reading.findings]
    candidates = list(_captioned(reading, uncaptioned, findings))
    intake = Intake(reading.layout, findings=findings, junk=listing.junk)
    with dataset.staging() as folder:
        stage = Stage(dataset, folder, check, intake, moving_gifs)
        stage.run(candidates, progress)
        intake.concepts = in_use(reading.concepts.values(), intake.pictures)
        if not intake.pictures and not intake.known:
            findings.append(notes.error("empty_dataset", "", "No picture in it can be used"))
        yield intake


def store(dataset: StoredDataset, intake: Intake, *, skip_broken: bool = False) -> Contents:
    """Add what is new to the working set; it can be undone. Raises IntakeRefused."""
    intake.refuse_if_broken(skip_broken=skip_broken)
    before = dataset.working
    dataset.objects.take(intake.wanted(before))
    known = {concept.name for concept in before.concepts}
    added = tuple(concept for concept in intake.concepts if concept.name not in known)
    old = (replace(p, mask=intake.masks.get(p.sha256, p.mask)) for p in before.pictures)
    contents = Contents((*old, *intake.pictures), (*before.concepts, *added), before.alike)
    pictures, masks = len(intake.pictures), len(intake.masks)
    if masks:
        return dataset.put(contents, f"imported {pictures} pictures, {masks} masks")
    return dataset.put(contents, f"imported {pictures} pictures")


def import_into(
    dataset: StoredDataset,
    paths: Sequence[Path],
    *,
    skip_broken: bool = False,
    limits: IntakeLimits | None = None,
    uncaptioned: Uncaptioned = "keep",
    check: Check = check_here,
    moving_gifs: bool = False,
) -> Intake:
    """List, examine and store in one. Raises FolderMissing, IntakeRefused."""
    listing = list_source(paths, limits or intake_limits())
    with (
        dataset.changing(),
        examine(
            dataset, listing, uncaptioned=uncaptioned, check=check, moving_gifs=moving_gifs
        ) as intake,
    ):
        store(dataset, intake, skip_broken=skip_broken)
    return intake


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
