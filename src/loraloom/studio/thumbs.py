"""Small copies of pictures, made once and kept in the data folder's cache."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Literal

from loraloom.dataset.snapshot import Picture
from loraloom.studio.decoders import Decoders


class Side(IntEnum):
    """Longest sides in pixels that there are."""

    TINY = 128
    CARD = 256
    DOUBLE = 512
    """A card on a screen of fine pixels."""
    LARGE = 1600


class Thumbs:
    """WebP files by the SHA-256 of their picture."""

    def __init__(self, root: Path, decoders: Decoders) -> None:
        self._root = root
        self._decoders = decoders

    def of(self, picture: Picture, source: Path, side_px: Side = Side.CARD) -> Path:
        """The small copy of a picture, whose bytes lie at `source`. Raises ImageUnreadable."""
        place = self.place(picture.sha256, side_px)
        if not place.is_file():
            content: Literal["clip", "picture"] = "clip" if picture.is_clip else "picture"
            with self._decoders.lent() as pool:
                pool.thumb(source, picture.name, place, side_px, content)
        return place

    def place(self, sha256: str, side_px: Side = Side.CARD) -> Path:
        """Where the small copy lies, or would."""
        return self._root / sha256[:2] / f"{sha256}-{side_px:d}.webp"
