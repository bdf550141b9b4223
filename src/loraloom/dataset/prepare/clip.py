"""One clip through all that is asked for: cut, brought to one rate, fitted, written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from loraloom.dataset import notes
from loraloom.dataset.clips import Clip, open_clip, upright_rgb
from loraloom.dataset.images import Facts
from loraloom.dataset.prepare import motion, segments
from loraloom.dataset.prepare.encode import Writer, writer
from loraloom.dataset.prepare.entries import Entry
from loraloom.dataset.prepare.plan import Plan
from loraloom.dataset.prepare.segments import Segment
from loraloom.dataset.prepare.target import Target
from loraloom.findings import Finding

EVEN_PX = 2
"""H.264 with the usual colours takes only even sides."""


@dataclass(frozen=True)
class Part:
    """One part of a clip: what it becomes and how it is cut."""

    segment: Segment
    size_px: tuple[int, int]
    frame: tuple[float, float, float, float]
    """What is kept of the upright frame, as shares of its sides."""


def stays(plan: Plan, facts: Facts, fps: float) -> bool:
    """Whether nothing is to be done to the clip: it is copied."""
    asked = plan.fit or plan.frames or plan.clip_seconds
    return not asked and (plan.fps is None or (facts.fps == fps and not is_unsteady(facts)))


def cut(
    entry: Entry, facts: Facts, plan: Plan, target: Target, fps: float
) -> tuple[list[Part], list[Finding]]:
    """The parts of a clip. Raises ImageUnreadable."""
    spans = [(0.0, facts.duration_s)]
    if plan.clip_seconds or plan.frames:
        with open_clip(entry.path, entry.name) as clip:
            spans = motion.find_shots(clip, facts.fps).spans()
    rule = target.rule if plan.frames else None
    found: list[Segment] = []
    findings = []
    for start_s, end_s in spans:
        parts = segments.cut(start_s, end_s, fps=fps, seconds=plan.clip_seconds, rule=rule)
        found += parts
        if not parts:
            findings.append(
                notes.warning(
                    "shot_too_short", entry.name,
                    f"the shot from {start_s:.1f} to {end_s:.1f} s is too short: left out",
                )
            )  # fmt: skip
    scaled, size = _sizes(facts, plan, target)
    left, top = ((a - b) / 2 / a for a, b in zip(scaled, size, strict=True))
    frame = (left, top, 1 - left, 1 - top)
    return [Part(segment, size, frame) for segment in found], findings


def write(
    entry: Entry,
    facts: Facts,
    plan: Plan,
    target: Target,
    fps: float,
    parts: list[Part],
    places: list[Path],
) -> Iterator[Image.Image]:
    """Write each part to its place; yields the first frame of each, as it was.

    Raises ImageUnreadable, OutputUnwritable, DiskFull.
    """
    scaled, size = _sizes(facts, plan, target)
    with open_clip(entry.path, entry.name) as clip, ExitStack() as stack:
        open_number = -1
        to: Writer | None = None
        wanted = motion.at_rate(clip.frames(), [part.segment for part in parts], fps)
        for number, rgb in _as_rgb(clip, wanted):
            if number != open_number:
                stack.close()
                place = places[number]
                to = stack.enter_context(writer(place, fps, size, frames=plan.frames))
                open_number = number
                yield Image.fromarray(rgb)
            assert to is not None
            to.add(motion.fit(rgb, scaled, size))


def _sizes(facts: Facts, plan: Plan, target: Target) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size after scaling, and the size cut out of it."""
    size = (facts.width_px, facts.height_px)
    if plan.fit:
        return motion.clip_size(size, target.long_side_px, target.multiple_px)
    return motion.clip_size(size, None, 1 if plan.frames else EVEN_PX)


def _as_rgb(
    clip: Clip, wanted: Iterator[tuple[int, VideoFrame]]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Each frame converted, one that comes again only once."""
    before: VideoFrame | None = None
    rgb: NDArray[np.uint8] | None = None
    for number, frame in wanted:
        if rgb is None or frame is not before:
            rgb = upright_rgb(clip, frame)
        before = frame
        yield number, rgb


def is_unsteady(facts: Facts) -> bool:
    """Whether its frames come at uneven times."""
    return any(code == "variable_rate" for code, _ in facts.notes)
