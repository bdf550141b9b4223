"""How sharp the sharpest part of a picture is.

The variance of the Laplacian, which is what most tools use, calls a portrait before a soft
background blurred, and a flat drawing too. Here the widths of single edges are measured, and the
sharpest parts of the picture decide: the background may be as soft as it likes, and a drawing
needs no more than a few clean lines.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

GRID = 8
"""Edges are judged in GRID × GRID tiles."""
MIN_TILE_EDGES = 12
"""A tile with fewer edge pixels has no say."""
SHARP_SHARE = 0.08
"""The share of the tiles with edges that must be sharp: a small thing before a soft background."""
MIN_SLOPE, MAX_NOISE_SLOPE = 2.0, 6.0
"""Grey levels a pixel: weaker slopes are shading or noise, not edges."""
FINE_PX, COARSE_PX = 1.0, 2.0
WIDEST_PX = 12.0
"""What is reported where edges are softer than can be told apart."""

Plane = NDArray[np.float32]


def edge_width_px(luma: NDArray[np.uint8]) -> float | None:
    """The blur of the sharpest edges, as a Gaussian's standard deviation in pixels.

    `luma`: (H, W), 0 to 255. None where there is no edge to judge by. An edge of blur s, smoothed
    by a and by b, has the slopes c / sqrt(s² + a²) and c / sqrt(s² + b²) whatever its contrast c,
    so that their ratio gives s (after Zhuo and Sim, "Defocus map estimation from a single image",
    Pattern Recognition 44, 2011). Of the tiles' medians, the SHARP_SHARE quantile is returned.
    """
    across, down = _slopes(luma, FINE_PX)
    fine = _plane(cv2.magnitude(across, down))
    least = max(MIN_SLOPE, min(_noise_slope(luma), MAX_NOISE_SLOPE))
    rows, columns = np.nonzero(_ridges(fine, across, down) & (fine > least))
    coarse_across, coarse_down = _slopes(luma, COARSE_PX)
    coarse = _plane(np.hypot(coarse_across[rows, columns], coarse_down[rows, columns]))
    widths = _widths(fine[rows, columns], coarse)
    tiles = (rows * GRID // luma.shape[0]) * GRID + columns * GRID // luma.shape[1]
    medians = _medians(widths, tiles)
    return float(np.quantile(medians, SHARP_SHARE)) if medians else None


def _slopes(luma: NDArray[np.uint8], sigma_px: float) -> tuple[Plane, Plane]:
    smooth = cv2.GaussianBlur(luma.astype(np.float32), (0, 0), sigma_px)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)
    return _plane(across), _plane(down)


def _plane(array: object) -> Plane:
    return np.asarray(array, np.float32)


def _noise_slope(luma: NDArray[np.uint8]) -> float:
    """Slopes up to this come from noise (Immerkær, "Fast noise variance estimation", 1996)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = cv2.filter2D(luma, cv2.CV_32F, kernel)
    sigma = float(np.median(np.abs(response[::2, ::2]))) / 0.6745 / 6
    return 4 * sigma * 0.2  # white noise of 1 has slopes of 0.2 after smoothing by FINE_PX


def _ridges(strength: Plane, across: Plane, down: Plane) -> NDArray[np.bool_]:
    """Where the slope is steeper than on both sides along its own direction, to a quarter turn."""
    beside = cv2.dilate(strength, np.array([[1, 0, 1]], np.uint8))
    above = cv2.dilate(strength, np.array([[1], [0], [1]], np.uint8))
    flat = np.abs(across) >= np.abs(down)
    ridge: NDArray[np.bool_] = strength >= np.where(flat, beside, above)
    ridge[:3], ridge[-3:], ridge[:, :3], ridge[:, -3:] = False, False, False, False
    return ridge


def _widths(fine: Plane, coarse: Plane) -> Plane:
    ratio2 = (fine / np.maximum(coarse, 1e-6)) ** 2
    width2 = (COARSE_PX**2 - ratio2 * FINE_PX**2) / np.maximum(ratio2 - 1, 1e-6)
    return _plane(np.sqrt(np.clip(width2, 0, WIDEST_PX**2)))


def _medians(widths: Plane, tiles: NDArray[np.intp]) -> list[float]:
    order = np.argsort(tiles, kind="stable")
    starts = np.flatnonzero(np.diff(tiles[order], prepend=-1))
    parts = np.split(widths[order], starts[1:]) if len(starts) else []
    return [float(np.median(part)) for part in parts if len(part) >= MIN_TILE_EDGES]
