"""All that is measured of one picture, in one reading of its file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from loraloom.dataset import images
from loraloom.dataset.readiness import blur, colour, exposure, faces, jpeg
from loraloom.errors import ImageUnreadable

THUMB_PX = 96
"""Side of the square that pictures are compared in; 37 kB each."""


@dataclass(frozen=True)
class Wanted:
    """What to measure, and at which size."""

    native_px: int
    """Pictures are judged no larger than this squared: as the base will see them."""
    count_faces: bool


@dataclass(frozen=True)
class Measures:
    """One picture, measured."""

    width_px: int
    height_px: int
    file_bytes: int
    sha256: str
    edge_width_px: float | None
    """None: it has no edges."""
    exposure: exposure.Exposure
    jpeg_quality: int | None
    """None: it is no JPEG."""
    faces: int | None
    """None: not asked for."""
    tint: colour.Tint
    thumb: NDArray[np.uint8] = field(repr=False, compare=False)
    """(THUMB_PX, THUMB_PX, 4), squeezed to a square: red, green, blue and lightness, which is half
    of the strongest and the weakest channel; a turn of the hue keeps it."""


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be opened, and why."""

    reason: str


def measure(path: Path, wanted: Wanted) -> Measures | Unreadable:
    """Open and measure one picture; whatever is wrong with it is an answer, never raised."""
    try:
        data = images.read_bytes(path)
        image = images.decode_rgb(data, path.name, first_frame=True)
        width_px, height_px = image.size
        rgb = np.asarray(image)
        del image
        return _measure(rgb, data, (width_px, height_px), wanted)
    except ImageUnreadable as error:
        return Unreadable(str(error))
    except (cv2.error, MemoryError) as error:
        return Unreadable(f"{path.name}: could not be measured ({error})")


def _measure(
    rgb: NDArray[np.uint8], data: bytes, size_px: tuple[int, int], wanted: Wanted
) -> Measures:
    rgb = shrink(rgb, wanted.native_px)
    luma = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    thumb = make_thumb(rgb)
    return Measures(
        *size_px,
        file_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        edge_width_px=blur.edge_width_px(luma),
        exposure=exposure.measure(luma, _strongest(rgb)),
        jpeg_quality=jpeg.quality(data),
        faces=faces.count(luma) if wanted.count_faces else None,
        tint=colour.tint(thumb[..., :3]),
        thumb=thumb,
    )


def _strongest(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W): the most of red, green and blue."""
    red, green, blue = cv2.split(rgb)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def make_thumb(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lightness is taken before the averaging, which would not keep it."""
    red, green, blue = cv2.split(rgb)
    strongest = _strongest(rgb)
    weakest = cv2.min(cv2.min(red, green), blue)
    lightness = cv2.addWeighted(strongest, 0.5, weakest, 0.5, 0)
    colours = resize(rgb, (THUMB_PX, THUMB_PX))
    light = resize(np.asarray(lightness, np.uint8), (THUMB_PX, THUMB_PX))
    return np.dstack([colours, light])


def shrink(rgb: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """The picture with an area of at most `side_px` squared, aspect kept."""
    height_px, width_px = rgb.shape[:2]
    scale = side_px / (height_px * width_px) ** 0.5
    if scale >= 1:
        return rgb
    return resize(rgb, (max(1, round(width_px * scale)), max(1, round(height_px * scale))))


def resize(rgb: NDArray[np.uint8], size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Averaged down, or interpolated up, to (width, height)."""
    smaller = size_px[0] <= rgb.shape[1] and size_px[1] <= rgb.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, size_px, interpolation=how), np.uint8)
