"""Picture sizes a base model can train on, and the crop that fits a picture to one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from loraloom.errors import ConfigInvalid


@dataclass(frozen=True)
class Bucket:
    """A size shared by all pictures, or clips, of a batch."""

    width_px: int
    height_px: int
    frames: int = 1


@dataclass(frozen=True)
class Crop:
    """How a picture becomes `bucket` sized: scaled to cover it, then cut at (left, top)."""

    original_width_px: int
    original_height_px: int
    left_px: int
    top_px: int
    bucket: Bucket
    region: tuple[int, int, int, int] | None = None
    """Left, top, width, height of the part of the picture that is used; the sizes are its."""

    @property
    def resized_px(self) -> tuple[int, int]:
        """Width and height after scaling, before the cut; at least the bucket's."""
        return _cover(self.original_width_px, self.original_height_px, self.bucket)

    @property
    def enlarges(self) -> bool:
        """Whether the picture is smaller than its bucket."""
        return (
            self.original_width_px < self.bucket.width_px
            or self.original_height_px < self.bucket.height_px
        )


def choose_bucket(
    width_px: int, height_px: int, *, resolution_px: int, multiple: int, max_aspect: float
) -> Bucket:
    """The bucket closest in aspect to a picture of `width_px` × `height_px`.

    Its sides are multiples of `multiple`, its area is at most `resolution_px` squared, its long
    side at most `max_aspect` times the short one. Raises ConfigInvalid when none is possible.
    """
    candidates = _candidates(resolution_px, multiple, max_aspect)
    if not candidates:
        raise ConfigInvalid(
            f"data.resolution_px = {resolution_px} is too small; at least {multiple} is needed"
        )
    wanted = math.log(width_px / height_px)

    def distance(bucket: Bucket) -> tuple[float, int]:
        aspect = math.log(bucket.width_px / bucket.height_px)
        return (round(abs(aspect - wanted), 9), -bucket.width_px * bucket.height_px)

    return min(candidates, key=distance)


def plan_crop(width_px: int, height_px: int, bucket: Bucket) -> Crop:
    """The crop that keeps as much of the picture's middle as fits `bucket`."""
    resized_width_px, resized_height_px = _cover(width_px, height_px, bucket)
    left_px = (resized_width_px - bucket.width_px) // 2
    top_px = (resized_height_px - bucket.height_px) // 2
    return Crop(width_px, height_px, left_px, top_px, bucket)


def apply_crop(
    image: Image.Image, crop: Crop, resample: Image.Resampling = Image.Resampling.LANCZOS
) -> Image.Image:
    """`image` scaled and cut to the size of `crop.bucket`."""
    if crop.region:
        left_px, top_px, width_px, height_px = crop.region
        image = image.crop((left_px, top_px, left_px + width_px, top_px + height_px))
    assert image.size == (crop.original_width_px, crop.original_height_px)
    right_px = crop.left_px + crop.bucket.width_px
    bottom_px = crop.top_px + crop.bucket.height_px
    resized = image.resize(crop.resized_px, resample)
    return resized.crop((crop.left_px, crop.top_px, right_px, bottom_px))


def _candidates(resolution_px: int, multiple: int, max_aspect: float) -> list[Bucket]:
    """The square, and for each short side the longest other that the area allows, both ways."""
    square_px = resolution_px - resolution_px % multiple
    buckets = [Bucket(square_px, square_px)] if square_px else []
    for short_px in range(multiple, resolution_px + 1, multiple):
        long_px = min(resolution_px**2 // short_px, int(short_px * max_aspect + 1e-9))
        long_px -= long_px % multiple
        if long_px > short_px:
            buckets += [Bucket(long_px, short_px), Bucket(short_px, long_px)]
    return buckets


def _cover(width_px: int, height_px: int, bucket: Bucket) -> tuple[int, int]:
    """The size of the picture scaled, aspect kept, until it just covers `bucket`."""
    scale = max(bucket.width_px / width_px, bucket.height_px / height_px)
    return (
        max(bucket.width_px, round(width_px * scale)),
        max(bucket.height_px, round(height_px * scale)),
    )
