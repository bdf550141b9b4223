"""Clips of a set: how long they are, and whether they go together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loraloom.dataset.readiness.listing import Picture
from loraloom.findings import Finding, Severity

SHORTEST_S, LONGEST_S = 2.0, 5.0
"""What the guides ask for: long enough for one movement, short enough to be read whole."""
TOLERANCE_S = 0.1
"""A clip of 120 frames at 23.976 a second is no longer than five seconds to anybody."""
SAME_RATE = 0.01
"""Share by which rates may differ: 23.976 and 24 are one rate."""


@dataclass(frozen=True)
class Clip:
    """A clip of the set, as far as its file tells."""

    picture: Picture
    width_px: int
    height_px: int
    fps: float
    duration_s: float


def judge_clip(clip: Clip) -> Iterator[Finding]:
    """A clip by itself."""
    name, length_s = clip.picture.name, clip.duration_s
    if length_s < SHORTEST_S - TOLERANCE_S:
        yield Finding(
            "clip-length",
            Severity.WARNING,
            name,
            f"The clip lasts {length_s:.1f} s: too short to show a movement.",
            round(length_s, 2),
            SHORTEST_S,
            f"Use {SHORTEST_S:g} to {LONGEST_S:g} seconds of it, or take it out.",
        )
    elif length_s > LONGEST_S + TOLERANCE_S:
        yield Finding(
            "clip-length",
            Severity.WARNING,
            name,
            f"The clip lasts {length_s:.1f} s: only its beginning is learnt.",
            round(length_s, 2),
            LONGEST_S,
            f"Cut {SHORTEST_S:g} to {LONGEST_S:g} seconds out of it, such as by `loraloom dataset "
            "prepare --clip-seconds 2-5`.",
        )


def judge_clips(clips: Sequence[Clip]) -> Iterator[Finding]:
    """What the clips have not in common."""
    rates = [clip.fps for clip in clips if clip.fps]
    if rates and max(rates) > min(rates) * (1 + SAME_RATE):
        told = _told(f"{rate:.3g} fps" for rate in rates)
        yield Finding(
            "clip-rate",
            Severity.WARNING,
            "",
            f"The clips have several frame rates: {told}. The same movement is fast in one and "
            "slow in another.",
            told,
            "one rate",
            "Give all of them one rate, such as by `loraloom dataset prepare --fps 24`.",
        )
    sizes = {(clip.width_px, clip.height_px) for clip in clips}
    if len(sizes) > 1:
        told = _told(f"{clip.width_px} × {clip.height_px}" for clip in clips)
        yield Finding(
            "clip-size",
            Severity.HINT,
            "",
            f"The clips have several sizes: {told}. Each is cut to the nearest of the base's.",
            told,
            "one size",
            "Scale and cut them to one size, such as by `loraloom dataset prepare --fit`.",
        )


def _told(values: Iterator[str]) -> str:
    """The most frequent first."""
    return ", ".join(f"{value} ({count})" for value, count in Counter(values).most_common(6))
