"""Where clips are cut: at the borders of shots, else evenly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loraloom.families.info import FrameRule

LOOK_PX = (64, 36)
"""Frames are compared at this size."""
CUT = 0.08
"""Mean difference of two frames, of the whole range, from which they can be of two shots."""
STANDS_OUT = 3.0
"""Times the largest difference around it: camera and subject move for longer than one frame."""
AROUND = 4
EPSILON_S = 1e-6


@dataclass(frozen=True)
class Segment:
    """A part of a clip: from `start_s`, so many frames at the set's rate, before `end_s`."""

    start_s: float
    end_s: float
    frames: int


def small(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame (H, W, 3) as it is compared."""
    import cv2  # large; what only counts pictures does without

    return np.asarray(cv2.resize(rgb, LOOK_PX, interpolation=cv2.INTER_AREA), np.uint8)


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """From 0, the same, to 1, of two frames as `small` gives them."""
    return float(np.abs(a.astype(np.int16) - b).mean()) / 255


def shot_starts(differences: Sequence[float]) -> list[int]:
    """Frames that begin a shot, the first one included; `differences[i]` is from i to i + 1.

    A cut is a difference that stands out from those around it; fades and flashes are none.
    """
    starts = [0]
    for i, here in enumerate(differences):
        around = [*differences[max(0, i - AROUND) : i], *differences[i + 1 : i + 1 + AROUND]]
        if here >= CUT and here >= STANDS_OUT * max(around, default=0.0):
            starts.append(i + 1)
    return starts


def cut(
    start_s: float,
    end_s: float,
    *,
    fps: float,
    seconds: tuple[float, float] | None,
    rule: FrameRule | None,
) -> list[Segment]:
    """A shot in parts of equal length; none where it is too short.

    Each lasts `seconds`, from the shortest to the longest. The frame rule of a base goes before
    that: no part has more frames than it allows, and what is over at a part's end is dropped.
    """
    shortest_s, longest_s = seconds or (0.0, math.inf)
    if rule:
        longest_s = min(longest_s, rule.most / fps)
        shortest_s = min(max(shortest_s, rule.least / fps), longest_s)
    length_s = end_s - start_s
    if length_s < shortest_s - EPSILON_S or length_s <= 0:
        return []
    count = max(1, math.ceil(length_s / longest_s - EPSILON_S))
    if length_s / count < shortest_s - EPSILON_S:
        count -= 1
    part_s = min(length_s / count, longest_s)
    parts = []
    for number in range(count):
        begin_s = start_s + number * part_s
        frames = math.floor(part_s * fps + 0.05)
        frames = rule.fit(frames) if rule else frames
        if frames:
            parts.append(Segment(begin_s, begin_s + part_s, frames))
    return parts
