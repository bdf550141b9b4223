"""The font of every picture that is written."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it: it knows dashes, accents, Greek, Cyrillic, arrows."""
    path = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    return ImageFont.truetype(path, size_px)
