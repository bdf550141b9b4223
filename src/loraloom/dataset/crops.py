"""Crops: the part of a picture that is used, kept beside the picture, which stays whole.

`crops.toml` names them: "cat/1.png" = [left, top, width, height], in pixels of the upright picture.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from loraloom.dataset import images, masks
from loraloom.dataset.snapshot import Box, Picture
from loraloom.errors import CropInvalid, DatasetUnknown

FILE = "crops.toml"
MOST_PX = 10**6
SHORTEST_PREFIX = 4


def check(box: Box, size_px: tuple[int, int], name: str) -> Box:
    """`box` as it is. Raises CropInvalid where it is not inside the picture."""
    left, top, width, height = box
    inside = left >= 0 and top >= 0 and left + width <= size_px[0] and top + height <= size_px[1]
    if not inside or min(width, height) < images.MIN_SIDE_PX:
        raise CropInvalid(
            f"{name}: the crop {left},{top},{width},{height} is not possible in {size_px[0]} × "
            f"{size_px[1]} px: left, top, width, height lie inside, and {images.MIN_SIDE_PX} px is "
            "the least side."
        )
    return box


def parse(text: str) -> Box:
    """ "40,0,512,512" in pixels. Raises CropInvalid."""
    sides = [int(part) for part in text.split(",") if part.strip().isascii()
             and part.strip().isdecimal()]  # fmt: skip
    if len(sides) != 4 or text.count(",") != 3 or max(sides) > MOST_PX:
        raise CropInvalid(
            f"The crop {text!r} is not possible: give left, top, width and height in pixels, as in "
            "40,0,512,512."
        )
    return sides[0], sides[1], sides[2], sides[3]


def choose(pictures: Sequence[Picture], words: Sequence[str]) -> list[Picture]:
    """The pictures that names or beginnings of hashes mean; all for no word, clips left out.

    Raises DatasetUnknown.
    """
    if not words:
        return [picture for picture in pictures if not picture.is_clip]
    chosen = []
    for word in words:
        prefix = word.lower() if len(word) >= SHORTEST_PREFIX else "none"
        meant = [p for p in pictures if p.name == word or p.sha256.startswith(prefix)]
        if len(meant) != 1:
            reason = "Several pictures are" if meant else "No picture is"
            raise DatasetUnknown(
                f"{reason} called {word!r}; name one by its file or the beginning of its hash, as "
                "`dataset show` tells."
            )
        chosen += meant
    return chosen


def file_of(crops: Mapping[str, Box]) -> str:
    """What `crops.toml` says, by the names of pictures."""
    head = "# Left, top, width, height in pixels of the upright picture.\n"
    lines = (f"{json.dumps(name, ensure_ascii=False)} = {list(box)}\n" for name, box in
             crops.items())  # fmt: skip
    return head + "".join(lines)


def burn_in(picture: Picture, path: Path, *, mask: bool = False) -> bytes:
    """The part of a picture, or of its mask, that is used, as PNG. Raises ImageUnreadable."""
    assert picture.crop is not None
    left, top, width, height = picture.crop
    image = (
        Image.fromarray(masks.read(path, picture.name))
        if mask
        else images.decode_rgb(images.read_bytes(path), picture.name, first_frame=True)
    )
    buffer = io.BytesIO()
    image.crop((left, top, left + width, top + height)).save(buffer, "PNG")
    return buffer.getvalue()
