"""What is left of a picture when another one is laid over it.

A copy may be cut, mirrored, scaled, compressed and recoloured. So the one picture is moved until it
lies on the other, its colours are changed by the one formula that brings them nearest, and what
then differs is looked at tile by tile: another smile differs in one tile only.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from loraloom.dataset.readiness.alignment import (
    LEAST_BEFORE,
    Plane,
    Start,
    Warp,
    align,
    apply,
    correlation,
    start_warp,
)
from loraloom.dataset.readiness.signature import LUMA

SMOOTH_PX = 0.8
"""Resampling and compression differ in what is finer."""
EDGE_PX = 3
"""Smoothing knows nothing of what a copy was cut from; its rim is not looked at."""
TILES = 12
CLIP = 2.0
"""So near to 0 or 255 a channel may have been cut off."""
MIN_WITHIN = 0.2
"""With less that is not clipped, all of it serves to find the formula."""
FLOOR = 0.05
"""Of the picture's variance: a tile with less is judged as if it had so much."""
WELL_LAID, WELL_ALIKE = 0.1, 0.97
"""With so little left, there is nothing to gain by moving; so alike, it is worth a look."""
MIN_CONTRAST = 3.0
"""Grey levels of spread; flatter pictures have nothing to compare."""

Thumb = NDArray[np.uint8]
NOTHING_SHARED = float("inf")


def remainder(first: Thumb, second: Thumb, start: Start) -> float:
    """What is left of `second` when `first` is laid over it: 0 nothing, 1 as much as there was.

    Both (S, S, 4): colours and lightness (see picture.Measures.thumb). The worst tile's mean
    square over its own variance, as a root, in the direction that is kinder (a grey copy cannot
    give back colours); infinite where they cannot be laid over each other.
    """
    a, b = _smooth(first), _smooth(second)
    if min(float(cv2.meanStdDev(planes)[1].max()) for planes in (a, b)) < MIN_CONTRAST:
        return NOTHING_SHARED
    warp = start_warp(start, len(a))
    # A turn of the hue keeps lightness, a change to grey keeps luma.
    planes = [(_lightness(a), _lightness(b)), (a[..., :3] @ LUMA, b[..., :3] @ LUMA)]
    alike, pair = max(
        ((correlation(*pair, warp), pair) for pair in planes), key=lambda found: found[0]
    )
    if alike < LEAST_BEFORE:
        return NOTHING_SHARED
    left = _left_after(a, b, warp) if alike >= WELL_ALIKE else NOTHING_SHARED
    if left < WELL_LAID:
        return left
    moved = align(*pair, warp)
    return left if moved is None else min(left, _left_after(a, b, moved))


def _smooth(thumb: Thumb) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(thumb.astype(np.float32), (0, 0), SMOOTH_PX), np.float32)


def _lightness(planes: NDArray[np.float32]) -> Plane:
    return np.ascontiguousarray(planes[..., 3])


def _left_after(a: NDArray[np.float32], b: NDArray[np.float32], warp: Warp) -> float:
    """The least of four: colours from colours both ways, lightness and luma from their own."""
    moved = apply(warp, a)
    inside = apply(warp, np.ones(a.shape[:2], np.float32)) > 0.99
    inside[:EDGE_PX], inside[-EDGE_PX:] = False, False
    inside[:, :EDGE_PX], inside[:, -EDGE_PX:] = False, False
    if inside.mean() < 0.5:
        return NOTHING_SHARED
    return min(
        _left_over(_products(moved), b[..., :3], inside),
        _left_over(_products(b), moved[..., :3], inside),
        _left_over(_powers(moved[..., 3]), b[..., 3:], inside),
        _left_over(_powers(moved[..., :3] @ LUMA), (b[..., :3] @ LUMA)[..., None], inside),
    )


def _powers(plane: Plane) -> NDArray[np.float32]:
    """(S, S, 4): one, the plane, its square and its cube."""
    light = plane / 255
    return np.stack([np.ones_like(light), light, light**2, light**3], axis=-1, dtype=np.float32)


def _products(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S, S, 10): one, the colours, and their products."""
    r, g, b = (planes[..., channel] / 255 for channel in range(3))
    return np.stack((np.ones_like(r), r, g, b, r * r, g * g, b * b, r * g, g * b, r * b), axis=-1)


def _left_over(
    inputs: NDArray[np.float32], target: NDArray[np.float32], inside: NDArray[np.bool_]
) -> float:
    """Root of the worst tile's share of the variance, after the best formula of `inputs`."""
    reached = np.stack(
        [_reached(inputs, target[..., c], inside) for c in range(target.shape[-1])], axis=-1
    )
    squares = np.where(inside, ((reached - target) ** 2).sum(axis=-1), 0)
    variance = float(target[inside].var(axis=0).sum())
    shares = _tiles(squares) / (_tile_variances(target) + max(FLOOR * variance, 1e-6))
    return float(np.sqrt(shares.max()))


def _reached(inputs: NDArray[np.float32], channel: Plane, inside: NDArray[np.bool_]) -> Plane:
    """(S, S): what the best formula makes of the inputs.

    Where the channel is clipped the formula is not sought, but cut off at the same end.
    """
    within = inside & (channel > CLIP) & (channel < 255 - CLIP)
    if within.sum() < MIN_WITHIN * inside.sum():
        within = inside
    known, wanted = inputs[within].astype(np.float64), channel[within].astype(np.float64)
    squared = known.T @ known + 1e-6 * len(known) * np.eye(known.shape[1])
    formula = np.linalg.solve(squared, known.T @ wanted).astype(np.float32)
    return np.asarray(np.clip(inputs @ formula, 0, 255), np.float32)


def _tile_variances(planes: NDArray[np.float32]) -> NDArray[np.float64]:
    means = (_tiles(planes[..., c] ** 2) - _tiles(planes[..., c]) ** 2
             for c in range(planes.shape[-1]))  # fmt: skip
    return np.asarray(sum(means), np.float64)


def _tiles(plane: NDArray[np.float32]) -> NDArray[np.float64]:
    """(TILES, TILES) means."""
    tile = len(plane) // TILES
    means = plane.reshape(TILES, tile, TILES, tile).mean(axis=(1, 3), dtype=np.float64)
    return np.asarray(means, np.float64)
