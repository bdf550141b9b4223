"""Frames of a clip at one rate, chosen by their times and fitted to a base."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from loraloom.dataset.clips import Clip, upright_rgb
from loraloom.dataset.prepare.segments import EPSILON_S, Segment, difference, shot_starts, small

Frame = TypeVar("Frame")


@dataclass(frozen=True)
class Shots:
    """When the shots of a clip begin, and when the clip ends."""

    starts_s: tuple[float, ...]
    end_s: float

    def spans(self) -> list[tuple[float, float]]:
        """Start and end of each shot in seconds."""
        return list(zip(self.starts_s, (*self.starts_s[1:], self.end_s), strict=True))


def find_shots(clip: Clip, fps: float) -> Shots:
    """Look through the whole clip. Raises ImageUnreadable."""
    times_s: list[float] = []
    differences: list[float] = []
    before: NDArray[np.uint8] | None = None
    for time_s, frame in clip.frames():
        now = small(upright_rgb(clip, frame))
        if before is not None:
            differences.append(difference(before, now))
        before = now
        times_s.append(time_s)
    starts_s = tuple(times_s[number] for number in shot_starts(differences))
    return Shots(starts_s, times_s[-1] + 1 / fps)


def at_rate(
    frames: Iterable[tuple[float, Frame]], segments: Sequence[Segment], fps: float
) -> Iterator[tuple[int, Frame]]:
    """(number of the segment, frame), each segment's frames at `fps`: of those in it the nearest.

    `frames`: seconds and frame, in order; so are the segments, which do not overlap.
    """
    waiting = deque(enumerate(segments))
    done = 0
    shown: tuple[float, Frame] | None = None
    last: tuple[float, Frame] | None = None
    for time_s, frame in frames:
        while waiting:
            number, segment = waiting[0]
            ends = time_s >= segment.end_s - EPSILON_S
            last = last or (shown if ends else None)  # in a gap, what was shown goes on
            if last is None:
                break
            middle_s = math.inf if ends else (last[0] + time_s) / 2
            while done < segment.frames and segment.start_s + done / fps < middle_s:
                yield number, last[1]
                done += 1
            if done < segment.frames:
                break
            waiting.popleft()
            done, last = 0, None
        if not waiting:
            return
        shown = (time_s, frame)
        if time_s >= waiting[0][1].start_s - EPSILON_S:
            last = shown
    while waiting and shown is not None:
        number, segment = waiting.popleft()
        for _ in range(done, segment.frames):
            yield number, (last or shown)[1]
        done, last = 0, None


def clip_size(
    size_px: tuple[int, int], long_side_px: int | None, multiple_px: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size after scaling, and the size that is cut out of its middle.

    The longer side becomes `long_side_px` where it is longer (None: it stays), then both sides are
    cut to multiples.
    """
    scale = min(1.0, (long_side_px or max(size_px)) / max(size_px))
    scaled = (round(size_px[0] * scale), round(size_px[1] * scale))
    width_px, height_px = (max(multiple_px, side - side % multiple_px) for side in scaled)
    scaled = (max(scaled[0], width_px), max(scaled[1], height_px))
    return scaled, (width_px, height_px)


def fit(rgb: NDArray[np.uint8], scaled: tuple[int, int], cut: tuple[int, int]) -> NDArray[np.uint8]:
    """A frame (H, W, 3) scaled and cut as `clip_size` says."""
    if (rgb.shape[1], rgb.shape[0]) != scaled:
        smaller = scaled[0] < rgb.shape[1]
        import cv2  # large; what only counts pictures does without

        how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
        rgb = np.asarray(cv2.resize(rgb, scaled, interpolation=how), np.uint8)
    left, top = (scaled[0] - cut[0]) // 2, (scaled[1] - cut[1]) // 2
    return np.ascontiguousarray(rgb[top : top + cut[1], left : left + cut[0]])
