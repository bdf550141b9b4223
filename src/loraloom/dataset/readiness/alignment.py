"""How to move one picture so that it lies on another."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from loraloom.dataset.readiness.signature import TRIMS

ROUGH_PX, ROUGH_STEPS, FINE_STEPS = 48, 25, 30
"""First on squares of ROUGH_PX, then on the whole thumbs."""
PRECISION = 1e-4
FILTER_PX = 5
AFAR_PX = 1.5
"""Smoothing of the small squares, so that a start that is a little off does no harm."""
LEAST_BEFORE, LEAST_AFTER, LEAST_LAID = 0.75, 0.88, 0.96
"""Correlations under which two planes are given up: as they came, moved roughly, and laid.

Copies have 0.92 and more, and then 0.987; of other pairs that look alike from afar a third has
less than 0.88, and then 19 of 20 less than 0.96.
"""
MIN_SCALE = 0.78
"""A tenth may be cut off at each edge, and a little more."""
MAX_SHEAR = 0.04

Plane = NDArray[np.float32]
Warp = NDArray[np.float32]
"""(2, 3): from the pixels of the second picture to those of the first."""


@dataclass(frozen=True)
class Start:
    """How the first picture is to be cut, and then mirrored, to look like the second."""

    x: int
    y: int
    mirrored: bool


def start_warp(start: Start, side: int) -> Warp:
    """The map of a Start for squares of `side` pixels."""
    (left, right), (top, bottom) = TRIMS[start.x], TRIMS[start.y]
    scale_x, scale_y = 1 - left - right, 1 - top - bottom
    shift_x = left * side + 0.5 * scale_x - 0.5
    shift_y = top * side + 0.5 * scale_y - 0.5
    if start.mirrored:
        scale_x, shift_x = -scale_x, side - 1 - right * side - 0.5 * scale_x + 0.5
    return np.array([[scale_x, 0, shift_x], [0, scale_y, shift_y]], np.float32)


def apply(warp: Warp, planes: NDArray[np.float32], how: int = cv2.INTER_CUBIC) -> Plane:
    """`planes` (S, S) or (S, S, C) moved by `warp`; zero where nothing is."""
    size = (planes.shape[1], planes.shape[0])
    flags = how | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(planes, warp, size, flags=flags), np.float32)


def correlation(a: Plane, b: Plane, warp: Warp) -> float:
    """Of `a`, moved by `warp`, and `b`, (S, S) each, from afar; 1 where they are the same."""
    moved = apply(_scaled(warp, ROUGH_PX / len(a)), _from_afar(a), cv2.INTER_LINEAR)
    margin = ROUGH_PX // 10  # what was cut off `a` cannot be wanting there
    planes = (moved, _from_afar(b))
    x, y = (plane[margin:-margin, margin:-margin].ravel() for plane in planes)
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / np.sqrt(max(float(x @ x) * float(y @ y), 1e-6)))


def _from_afar(plane: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(_small(plane), (0, 0), AFAR_PX), np.float32)


def _small(plane: Plane) -> Plane:
    size = (ROUGH_PX, ROUGH_PX)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)


def align(a: Plane, b: Plane, warp: Warp) -> Warp | None:
    """The affine map that lays `a` on `b`, near `warp`; None where they do not belong together.

    The enhanced correlation coefficient (Evangelidis and Psarakis, TPAMI 30, 2008), first on
    small squares, which follow a longer way and cost less to be given up.
    """
    ratio = ROUGH_PX / len(a)
    rough = _step(_small(a), _small(b), _scaled(warp, ratio), ROUGH_STEPS)
    if rough is None or rough[0] < LEAST_AFTER:
        return None
    fine = _step(a, b, _scaled(rough[1], 1 / ratio), FINE_STEPS)
    if fine is None or fine[0] < LEAST_LAID:
        return None
    (xx, xy, _), (yx, yy, _) = fine[1]
    plausible = all(MIN_SCALE <= abs(scale) <= 1 / MIN_SCALE for scale in (xx, yy))
    return fine[1] if plausible and max(abs(xy), abs(yx)) <= MAX_SHEAR else None


def _step(a: NDArray[np.float32], b: Plane, warp: Warp, steps: int) -> tuple[float, Warp] | None:
    """Correlation and map; None where the search went astray."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, PRECISION)
    everywhere = np.full(a.shape, 255, np.uint8)
    try:
        alike, found = cv2.findTransformECC(
            b, a, warp, cv2.MOTION_AFFINE, criteria, everywhere, FILTER_PX
        )
    except cv2.error:
        return None
    return float(alike), np.asarray(found, np.float32)


def _scaled(warp: Warp, ratio: float) -> Warp:
    """The same map for squares of another size; pixel centres lie at halves."""
    scaled = warp.copy()
    scaled[:, 2] = (warp[:, 2] + 0.5 - 0.5 * warp[:, :2].sum(axis=1)) * ratio
    scaled[:, 2] += 0.5 * warp[:, :2].sum(axis=1) - 0.5
    return scaled
