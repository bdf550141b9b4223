"""Too dark, too bright, or neither."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 256
"""Exposure is judged on a picture of this longer side."""
CLIPPED = 253
"""A luma from here on has lost what was there."""
PAPER = 243
"""What counts as a white background; paper is rarely clipped."""
TINTED_PAPER = 225
"""White paper in warm light, of which one colour may be clipped."""
MIN_REST = 0.01
"""With less beside the background there is nothing to judge."""
BRIGHT = 215
"""What surrounds a clipped place when light was too much; a white thing has an edge instead."""
PAPER_BORDER = 0.6
"""With so much of the border clipped, what touches the border is a white background."""
MIN_SPOT = 0.002
"""Clipped spots under this share of the picture are lamps and reflections."""
PHOTO_BITS = 6.3
"""Entropy of the lumas that are not clipped: photographs have more, drawings less."""


@dataclass(frozen=True)
class Exposure:
    """Shares and lumas are 0 to 1, of gamma-coded values (Rec. 601 luma)."""

    mean: float
    brightest: float
    """The luma that 0.5 % of the pixels exceed."""
    darkest: float
    """The luma that 5 % of the pixels outside a white background stay under."""
    blown: float
    """Share of the picture that is clipped white and fades into it."""
    black: float
    """Share that is clipped black."""
    lost: float
    """Share of what is no white background in which at least one colour is clipped."""


def measure(luma: NDArray[np.uint8], strongest: NDArray[np.uint8] | None = None) -> Exposure:
    """Exposure of a (H, W) luma plane, 0 to 255; `strongest`: of red, green and blue, (H, W).

    A white background (clipped, and along most of the border) is nothing blown, nor is a white
    shirt in a drawing, which ends in an edge: blown light fades out over some pixels. A night
    scene is dark but has lights, so that the brightest pixels and not the mean tell too little
    light.
    """
    small = _shrink(luma)
    background, blown = _clipped_parts(small)
    rest = small[~background]
    return Exposure(
        mean=float(small.mean()) / 255,
        brightest=float(np.quantile(small, 0.995)) / 255,
        darkest=float(np.quantile(rest, 0.05)) / 255 if rest.size else 1.0,
        blown=float(blown.mean()),
        black=float((small <= 2).mean()),
        lost=_lost(small, small if strongest is None else _shrink(strongest)),
    )


def _lost(luma: NDArray[np.uint8], strongest: NDArray[np.uint8]) -> float:
    """Drawings burn out colour by colour, flat area by flat area, and fade nowhere."""
    rest = ~_background(luma, TINTED_PAPER)
    return float((strongest[rest] >= CLIPPED).mean()) if rest.mean() >= MIN_REST else 0.0


def _shrink(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = SIDE_PX / max(luma.shape)
    if scale >= 1:
        return luma
    size = (max(1, round(luma.shape[1] * scale)), max(1, round(luma.shape[0] * scale)))
    return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)


def _clipped_parts(luma: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The white background, and the clipped places that should not be."""
    background = _background(luma)
    clipped = (luma >= CLIPPED) & ~background
    if clipped.any() and _entropy_bits(luma[~background & ~clipped]) >= PHOTO_BITS:
        return background, clipped
    blown = np.zeros(luma.shape, np.bool_)
    for place in _places(clipped, MIN_SPOT * luma.size):
        if _fades(luma, place):
            blown |= place
    return background, blown


def _background(luma: NDArray[np.uint8], white: int = PAPER) -> NDArray[np.bool_]:
    """The white that touches the border, where it makes up most of the border."""
    paper = luma >= white
    border = np.concatenate([paper[0], paper[-1], paper[:, 0], paper[:, -1]])
    background = np.zeros(luma.shape, np.bool_)
    if border.mean() < PAPER_BORDER:
        return background
    for place in _places(paper, 1):
        if place[0].any() or place[-1].any() or place[:, 0].any() or place[:, -1].any():
            background |= place
    return background


def _places(mask: NDArray[np.bool_], least_pixels: float) -> Iterator[NDArray[np.bool_]]:
    """The connected parts of a mask."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    for label in range(1, len(stats)):
        if stats[label, cv2.CC_STAT_AREA] >= least_pixels:
            yield labels == label


def _entropy_bits(lumas: NDArray[np.uint8]) -> float:
    share = np.bincount(lumas, minlength=256) / max(1, lumas.size)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def _fades(luma: NDArray[np.uint8], place: NDArray[np.bool_]) -> bool:
    """Whether the pixels two and three steps outside are bright too."""
    inner = cv2.dilate(place.astype(np.uint8), np.ones((3, 3), np.uint8))
    outer = cv2.dilate(inner, np.ones((5, 5), np.uint8))
    ring = luma[outer > inner]
    return bool(ring.size) and float(np.median(ring)) >= BRIGHT
