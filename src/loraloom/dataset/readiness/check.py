"""The whole check: a folder goes in, and all that should be known before training comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from loraloom.captions import lint, rules
from loraloom.captions.lint import Captioned
from loraloom.dataset.readiness import composition, concepts, duplicates
from loraloom.dataset.readiness.composition import Part
from loraloom.dataset.readiness.judging import (
    Native,
    judge_cast,
    judge_copies,
    judge_picture,
    judge_size,
)
from loraloom.dataset.readiness.listing import Picture, list_pictures, triggers
from loraloom.dataset.readiness.native import native_of
from loraloom.dataset.readiness.picture import Measures, Unreadable, Wanted
from loraloom.dataset.readiness.reading import Answer, measure_all
from loraloom.findings import Finding, Severity
from loraloom.kinds import Kind

SEVERITIES = tuple(Severity)
TOLD_BY_OURS = {"outfit-dominant": "same-clothing"}
"""Findings that make one of the caption check's superfluous."""

Progress = Callable[[str, int, int], None]
"""Is told the stage, how much of it is done, and of how much."""
Measure = Callable[[Sequence[Picture], Wanted, Progress | None], Sequence[Answer]]
"""An answer for each picture, in order."""


@dataclass(frozen=True)
class Readiness:
    """What is known of a set before it is trained on."""

    folder: Path
    """Where the pictures lie."""
    kind: Kind
    native: Native
    pictures: tuple[Picture, ...]
    measures: Mapping[str, Measures]
    """By the picture's name; unreadable ones are missing."""
    coverage: tuple[Part, ...]
    findings: tuple[Finding, ...]
    """Errors first, then by code and picture."""

    @property
    def spotless(self) -> int:
        """How many pictures nothing was found in."""
        named = {finding.item for finding in self.findings}
        return sum(picture.name not in named for picture in self.pictures)


def check(
    folder: Path,
    kind: Kind,
    base: str,
    trigger: str = "",
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Readiness:
    """Look at every picture of a folder and its subfolders, each by itself and all together.

    `trigger` is that of the folder's own pictures; a subfolder's is read off its captions.
    Raises FolderMissing, FolderEmpty and BaseUnknown.
    """
    native = native_of(base)
    pictures = list_pictures(folder)
    words = triggers(pictures) | ({"": trigger} if trigger else {})
    measure = partial(_measure_here, workers=workers)
    return check_pictures(
        folder, pictures, kind, native, words, trigger, measure=measure, progress=progress
    )


def check_pictures(
    folder: Path,
    pictures: Sequence[Picture],
    kind: Kind,
    native: Native,
    words: Mapping[str, str],
    trigger: str = "",
    *,
    measure: Measure,
    progress: Progress | None = None,
) -> Readiness:
    """The same for pictures from anywhere.

    `words`: concept -> trigger; `trigger`: the one that is left aside where all captions are read.
    """
    wanted = Wanted(native.side_px, count_faces=kind is Kind.CHARACTER)
    findings: list[Finding] = []
    measures: dict[str, Measures] = {}
    for picture, answer in zip(pictures, measure(pictures, wanted, progress), strict=True):
        if isinstance(answer, Unreadable):
            findings.append(_unreadable(picture.name, answer))
        else:
            measures[picture.name] = answer
            findings += judge_picture(picture.name, answer, native, kind)
    readable = [picture for picture in pictures if picture.name in measures]
    findings += _judge_pictures_together(readable, measures, progress)
    findings += _judge_captions(pictures, kind, words, native.prompt_style)
    said = [picture.caption for picture in pictures if picture.caption]
    return Readiness(
        folder,
        kind,
        native,
        tuple(pictures),
        measures,
        tuple(composition.coverage(said, kind, trigger)),
        tuple(sorted(findings, key=_rank)),
    )


def _measure_here(
    pictures: Sequence[Picture],
    wanted: Wanted,
    progress: Progress | None,
    *,
    workers: int | None = None,
) -> list[Answer]:
    answers = []
    for answer in measure_all([picture.path for picture in pictures], wanted, workers=workers):
        answers.append(answer)
        if progress:
            progress("Reading pictures", len(answers), len(pictures))
    return answers


def _judge_pictures_together(
    pictures: Sequence[Picture], measures: Mapping[str, Measures], progress: Progress | None
) -> list[Finding]:
    """Copies, and what all pictures share."""
    if not pictures:
        return []
    found = [measures[picture.name] for picture in pictures]
    pairs = duplicates.find_pairs(
        np.stack([one.thumb for one in found]),
        [one.sha256 for one in found],
        progress and (lambda done, total: progress("Comparing pictures", done, total)),
    )
    sizes = [(one.width_px * one.height_px, one.file_bytes) for one in found]
    return [
        *judge_copies(pictures, sizes, pairs),
        *judge_cast([one.tint for one in found]),
        *concepts.shared_pictures(pictures, pairs),
    ]


def _judge_captions(
    pictures: Sequence[Picture], kind: Kind, words: Mapping[str, str], style: rules.Style
) -> list[Finding]:
    """What each concept's captions tell, and its size."""
    by_concept: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_concept.setdefault(picture.concept, []).append(picture)
    findings = [*concepts.foreign_triggers(pictures, words)] if len(by_concept) > 1 else []
    for concept, members in by_concept.items():
        trigger = words.get(concept, "")
        captions = [Captioned(picture.name, picture.caption or None) for picture in members]
        findings += judge_size(len(members), kind)
        ours = composition.check([picture.caption for picture in members], kind, trigger)
        told = {TOLD_BY_OURS.get(finding.code) for finding in ours}
        theirs = lint.lint(captions, lint.Check(kind, trigger, style=style))
        findings += [*ours, *(finding for finding in theirs if finding.code not in told)]
    return findings


def _unreadable(name: str, answer: Unreadable) -> Finding:
    fix = "Export it again as PNG or JPEG, or take it out."
    reason = answer.reason.partition(": ")[2] or answer.reason
    sentence = f"{reason[:1].upper()}{reason[1:]}."
    return Finding("unreadable", Severity.ERROR, name, sentence, None, None, fix)


def _rank(finding: Finding) -> tuple[int, str, str]:
    return SEVERITIES.index(finding.severity), finding.code, finding.item
