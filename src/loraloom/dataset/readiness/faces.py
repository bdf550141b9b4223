"""The faces that look out of a picture, by the cascades that come with OpenCV."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 400
"""Faces are looked for in a picture of this longer side."""
MIN_FACE = 0.1
"""Of the shorter side: smaller ones are passers-by, and mostly wrong."""
MIN_OF_LARGEST = 0.33
"""A face much smaller than the largest is in the background."""
CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_frontalface_default.xml")
NEIGHBOURS = (5, 6)
OVERLAP = 0.3

Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


def count(luma: NDArray[np.uint8]) -> int:
    """Frontal faces in a (H, W) luma plane, 0 to 255.

    Two cascades (Viola and Jones 2001; Lienhart and Maydt 2002) must agree on a place, for one
    alone sees faces in patterns. Profiles and most drawn faces are not found: 0 means nothing.
    """
    small, _ = _scaled(luma)
    first = _detect(0, small)
    return len(first) if len(first) < 2 else len(_agreed(small, first))


def find(luma: NDArray[np.uint8]) -> list[Box]:
    """Where frontal faces are in a (H, W) luma plane, the largest first, in its pixels.

    Only those on which both cascades agree: what is cut out by them must be right.
    """
    small, scale = _scaled(luma)
    first = _detect(0, small)
    boxes = sorted(_agreed(small, first) if first else [], key=lambda box: -box[2])
    return [
        (round(x / scale), round(y / scale), round(w / scale), round(h / scale))
        for x, y, w, h in boxes
    ]


def _agreed(luma: NDArray[np.uint8], first: list[Box]) -> list[Box]:
    """Those that the second cascade sees too, less those in the background."""
    second = _detect(1, luma)
    agreed = [box for box in first if any(_overlap(box, other) >= OVERLAP for other in second)]
    largest = max((box[2] for box in agreed), default=0)
    return [box for box in agreed if box[2] >= MIN_OF_LARGEST * largest]


def _scaled(luma: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """The plane as it is searched, and its scale."""
    height_px, width_px = luma.shape
    scale = SIDE_PX / max(height_px, width_px)
    if scale >= 1:
        return luma, 1.0
    size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _detect(number: int, luma: NDArray[np.uint8]) -> list[Box]:
    least_px = max(20, round(MIN_FACE * min(luma.shape)))
    found = _cascade(number).detectMultiScale(
        luma, scaleFactor=1.1, minNeighbors=NEIGHBOURS[number], minSize=(least_px, least_px)
    )
    return [(int(x), int(y), int(w), int(h)) for x, y, w, h in found]


@cache
def _cascade(number: int) -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / CASCADES[number]))


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)
