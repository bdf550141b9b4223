"""The whole check: a folder goes in, and all that should be known before training comes out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from loraloom.captions import lint, rules
from loraloom.captions.concept import known_name
from loraloom.captions.lint import Captioned
from loraloom.captions.tokens import Counter, light_counter
from loraloom.dataset.readiness import composition, concepts, duplicates
from loraloom.dataset.readiness.composition import Part
from loraloom.dataset.readiness.judging import (
    CAST_PICTURES,
    Copy,
    Native,
    find_copies,
    judge_cast,
    judge_copy,
    judge_picture,
    judge_size,
)
from loraloom.dataset.readiness.listing import Picture, is_clip, list_pictures, triggers
from loraloom.dataset.readiness.moving import Clip, judge_clip, judge_clips
from loraloom.dataset.readiness.native import native_of
from loraloom.dataset.readiness.picture import Measures, Unreadable, Wanted
from loraloom.dataset.readiness.reading import Answer, measure_all
from loraloom.errors import ImageUnreadable
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
    """Clips among them."""
    measures: Mapping[str, Measures]
    """By the picture's name; unreadable ones and clips are missing."""
    coverage: tuple[Part, ...]
    findings: tuple[Finding, ...]
    """Errors first, then by code and picture."""
    copies: tuple[Copy, ...]
    looked_for: tuple[str, ...]
    """The codes of what would have been found."""
    unmeasured: tuple[str, ...]
    """What could not be looked at, and why."""

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
    found = list_pictures(folder)
    words = triggers(found) | ({"": trigger} if trigger else {})
    moving = [picture for picture in found if is_clip(picture.path)]
    clips, broken = _inspect(moving, progress)
    return check_pictures(
        folder,
        [picture for picture in found if not is_clip(picture.path)],
        kind,
        native,
        words,
        trigger,
        measure=partial(_measure_here, workers=workers),
        progress=progress,
        clips=clips,
        broken=broken,
        counter=light_counter(base),
        guessed=words.keys() - ({""} if trigger else set()),
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
    clips: Sequence[Clip] = (),
    broken: Sequence[tuple[Picture, str]] = (),
    counter: Counter | None = None,
    guessed: Collection[str] = (),
) -> Readiness:
    """The same for pictures from anywhere.

    `words`: concept -> trigger; `trigger`: the one that is left aside where all captions are read;
    `broken`: clips that cannot be read, with the reason; `counter`: of the base's own tokens;
    `guessed`: concepts whose trigger nobody has said, so that what lacks it is told as a hint.
    """
    wanted = Wanted(native.side_px, count_faces=kind is Kind.CHARACTER)
    findings = [_unreadable(picture.name, Unreadable(why)) for picture, why in broken]
    measures: dict[str, Measures] = {}
    for picture, answer in zip(pictures, measure(pictures, wanted, progress), strict=True):
        if isinstance(answer, Unreadable):
            findings.append(_unreadable(picture.name, answer))
        else:
            measures[picture.name] = answer
            findings += judge_picture(picture.name, answer, native, kind)
    readable = [picture for picture in pictures if picture.name in measures]
    together, copies = _judge_pictures_together(readable, measures, progress)
    findings += together
    for clip in clips:
        findings += judge_clip(clip)
    findings += judge_clips(clips)
    moving = [*(clip.picture for clip in clips), *(picture for picture, _ in broken)]
    everything = sorted([*pictures, *moving], key=lambda picture: picture.name)
    named = {picture.name for picture in moving}
    findings += _judge_captions(everything, named, kind, words, native, counter, guessed)
    said = [picture.caption for picture in everything if picture.caption]
    return Readiness(
        folder,
        kind,
        native,
        tuple(everything),
        measures,
        tuple(composition.coverage(said, kind, trigger)),
        tuple(sorted(findings, key=_rank)),
        tuple(copies),
        tuple(_looked_for(measures, len(moving), kind, words, counter)),
        tuple(_unmeasured(measures, len(moving), kind, words, counter)),
    )


def _inspect(
    moving: Sequence[Picture], progress: Progress | None
) -> tuple[list[Clip], list[tuple[Picture, str]]]:
    """What each clip is; those that cannot be read, with the reason."""
    from loraloom.dataset.clips import inspect

    clips, broken = [], []
    for number, picture in enumerate(moving, start=1):
        try:
            facts = inspect(picture.path, picture.name)
            clips.append(
                Clip(picture, facts.width_px, facts.height_px, facts.fps, facts.duration_s)
            )
        except ImageUnreadable as error:
            broken.append((picture, str(error)))
        if progress:
            progress("Reading clips", number, len(moving))
    return clips, broken


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
) -> tuple[list[Finding], list[Copy]]:
    """Copies, and what all pictures share."""
    if not pictures:
        return [], []
    found = [measures[picture.name] for picture in pictures]
    pairs = duplicates.find_pairs(
        np.stack([one.thumb for one in found]),
        [one.sha256 for one in found],
        progress and (lambda done, total: progress("Comparing pictures", done, total)),
    )
    sizes = [(one.width_px * one.height_px, one.file_bytes) for one in found]
    copies = list(find_copies(pictures, sizes, pairs))
    return [
        *map(judge_copy, copies),
        *judge_cast([one.tint for one in found]),
        *concepts.shared_pictures(pictures, pairs),
    ], copies


def _judge_captions(
    pictures: Sequence[Picture],
    moving: Collection[str],
    kind: Kind,
    words: Mapping[str, str],
    native: Native,
    counter: Counter | None,
    guessed: Collection[str],
) -> list[Finding]:
    """What each concept's captions tell, and its size; `moving`: the names of clips."""
    by_concept: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_concept.setdefault(picture.concept, []).append(picture)
    findings = [*concepts.foreign_triggers(pictures, words)] if len(by_concept) > 1 else []
    for concept, members in by_concept.items():
        trigger = words.get(concept, "")
        captions = [Captioned(picture.name, picture.caption or None) for picture in members]
        video = 2 * sum(picture.name in moving for picture in members) > len(members)
        findings += judge_size(len(members), kind, moving=video)
        ours = composition.check([picture.caption for picture in members], kind, trigger)
        told = {TOLD_BY_OURS.get(finding.code) for finding in ours}
        own = known_name(concept) if kind is Kind.CONCEPT else ""
        theirs = lint.lint(
            captions,
            lint.Check(
                kind,
                trigger,
                own,
                style=native.prompt_style,
                video=video or native.frames is not None,
            ),
            counter,
        )
        if concept in guessed:
            theirs = [
                replace(one, severity=Severity.HINT) if one.code.startswith("trigger-") else one
                for one in theirs
            ]
        findings += [*ours, *(finding for finding in theirs if finding.code not in told)]
    return findings


def _looked_for(
    measures: Mapping[str, Measures],
    clips: int,
    kind: Kind,
    words: Mapping[str, str],
    counter: Counter | None,
) -> Iterator[str]:
    """The codes of the findings that there could have been."""
    yield "unreadable"
    if measures:
        yield from ("low-resolution", "blur", "exposure", "jpeg-quality", "near-duplicate")
    if len(measures) >= CAST_PICTURES:
        yield "colour-cast"
    if kind is Kind.CHARACTER:
        yield from ("faces", "same-clothing")
    if clips:
        yield from ("clip-length", "clip-rate", "clip-size")
    yield from ("too-few", "too-many", "caption-missing")
    if len(words) > 1:
        yield "concept-overlap"
    if any(words.values()):
        yield from ("trigger-missing", "trigger-inconsistent", "trigger-common")
    own = rules.of(kind)
    yield from (own.leak_code, "vocabulary", "too-long", "too-brief")
    if own.required:
        yield "incomplete"
    if counter is not None:
        yield "truncated"


def _unmeasured(
    measures: Mapping[str, Measures],
    clips: int,
    kind: Kind,
    words: Mapping[str, str],
    counter: Counter | None,
) -> Iterator[str]:
    """What the findings do not speak of though nothing is known to be right."""
    flat = sum(one.edge_width_px is None for one in measures.values())
    if flat:
        yield f"Sharpness is measured by edges, and {flat} of the pictures have none."
    if 0 < len(measures) < CAST_PICTURES:
        yield f"A tint of the whole set is told from {CAST_PICTURES} pictures on."
    if clips:
        yield f"Of {clips} clips only length, rate, size and captions are looked at."
    if kind is not Kind.CHARACTER:
        yield "Faces are counted for characters only."
    if not any(words.values()):
        yield "There is no trigger that captions could lack."
    if counter is None:
        yield "Tokens of captions are counted for installed bases only."
    yield "Watermarks, writing and borders are not looked for."


def _unreadable(name: str, answer: Unreadable) -> Finding:
    fix = "Export it again as PNG or JPEG, or take it out."
    reason = answer.reason.partition(": ")[2] or answer.reason
    sentence = f"{reason[:1].upper()}{reason[1:]}."
    return Finding("unreadable", Severity.ERROR, name, sentence, None, None, fix)


def _rank(finding: Finding) -> tuple[int, str, str]:
    return SEVERITIES.index(finding.severity), finding.code, finding.item
