"""The quality that a JPEG was saved with, read off its quantisation tables."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Tables K.1 and K.2 of ITU-T T.81, row by row.
LUMA = (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
        14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
        18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99)  # fmt: skip
CHROMA = (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
          24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
          *[99] * 32)  # fmt: skip


def quality(data: bytes) -> int | None:
    """Quality, 1 to 100, of a JPEG file's bytes; None for any other kind of file.

    Raises nothing: what cannot be read has no quality. A picture that was saved again as PNG
    keeps its blocks but not its tables, and is not told.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            tables: Mapping[int, Sequence[int]] = getattr(image, "quantization", {})
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return quality_of_tables(tables) if tables else None


def quality_of_tables(tables: Mapping[int, Sequence[int]]) -> int:
    """The IJG quality whose tables are nearest: exact for libjpeg, near for other programs.

    `tables`: number -> 64 steps row by row; 0 is luma and 1, where there is one, chroma.
    """
    distance = np.abs(_steps(LUMA) - np.array(tables[min(tables)])).sum(axis=1)
    if 1 in tables:
        distance = distance + np.abs(_steps(CHROMA) - np.array(tables[1])).sum(axis=1)
    return 1 + int(np.argmin(distance))


@cache
def _steps(base: tuple[int, ...]) -> NDArray[np.int64]:
    """(100, 64): the steps at each quality, as jpeg_quality_scaling of libjpeg has them."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    steps: NDArray[np.int64] = np.clip((np.outer(scale, np.array(base)) + 50) // 100, 1, 255)
    return steps
