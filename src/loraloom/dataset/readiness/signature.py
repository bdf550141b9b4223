"""What a picture looks like from afar: the low frequencies that survive a copy.

The coefficients are those of the perceptual hash of Zauner ("Implementation and benchmarking of
perceptual image hash functions", 2010), but kept as numbers instead of being cut to bits: the
cosine of two is a matrix product, which is as fast and tells more.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

FREQUENCIES = 9
"""Waves along each side; the mean is left out."""
TRIMS = ((0.0, 0.0), (0.02, 0.02), (0.08, 0.02), (0.02, 0.08), (0.08, 0.08), (0.05, 0.05))
"""Shares cut off at both ends of a side: any cut of up to a tenth at each end is near one."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue (Rec. 601)."""

Planes = NDArray[np.float32]
Signatures = NDArray[np.float32]
"""(N, D), each row of length 1."""


def variants() -> list[tuple[int, int, bool]]:
    """(trim of the width, trim of the height, mirrored) of everything a copy is looked for as."""
    return [
        (x, y, mirrored)
        for mirrored in (False, True)
        for x, y in product(range(len(TRIMS)), repeat=2)
        if (x == 0) == (y == 0)
    ]


def lightness(thumbs: NDArray[np.uint8]) -> Planes:
    """(N, S, S) of (N, S, S, 4) thumbs."""
    return thumbs[..., 3].astype(np.float32)


def luma(thumbs: NDArray[np.uint8]) -> Planes:
    """(N, S, S): what a grey copy of each picture shows (Rec. 601)."""
    return np.asarray(thumbs[..., :3] @ LUMA, np.float32)


def signatures(planes: Planes, *, x: int = 0, y: int = 0, mirrored: bool = False) -> Signatures:
    """Of (N, S, S) planes, as if trimmed by TRIMS[x] and TRIMS[y] first and then mirrored."""
    side = planes.shape[-1]
    across, down = _basis(side, x), _basis(side, y)
    waves = np.einsum("fs,nst,gt->nfg", down, planes, across, optimize=True)
    if mirrored:
        waves = waves * (-1.0) ** np.arange(FREQUENCIES)
    flat = (waves * _weights()).reshape(len(planes), -1)[:, 1:]
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6), np.float32)


@cache
def _basis(side: int, trim: int) -> NDArray[np.float32]:
    """(FREQUENCIES, side): cosines over the part that is left, zero over what is cut off."""
    start, end = TRIMS[trim][0] * side, (1 - TRIMS[trim][1]) * side
    pixels = np.arange(side)
    cover = np.clip(np.minimum(pixels + 1, end) - np.maximum(pixels, start), 0, 1)
    place = (np.clip(pixels + 0.5, start, end) - start) / (end - start)
    waves = np.cos(np.pi * np.outer(np.arange(FREQUENCIES), place)) * cover
    waves[0] /= np.sqrt(2)
    return np.asarray(waves / (end - start), np.float32)


def _weights() -> NDArray[np.float32]:
    """Natural pictures have amplitudes of one over the frequency: make them count alike."""
    steps = np.arange(FREQUENCIES)
    return np.asarray(np.hypot.outer(steps, steps), np.float32)
