"""What pictures and clips are prepared for: the sizes and frame counts of a base."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from loraloom.dataset.buckets import Bucket, choose_bucket
from loraloom.dataset.readiness.native import native_of
from loraloom.families.info import FrameRule, frame_rule
from loraloom.kinds import read_data

LARGEST_ASPECT = 2.0
"""Of buckets for the pictures of a video base."""


@dataclass(frozen=True)
class Target:
    """The sizes of a base."""

    title: str
    side_px: int
    """Pictures have the area of this squared at most."""
    long_side_px: int
    """Of clips."""
    multiple_px: int
    max_aspect: float
    rule: FrameRule | None = None
    """Only of a video base."""

    def bucket(self, width_px: int, height_px: int) -> Bucket:
        """The size that a picture is cut to."""
        return choose_bucket(
            width_px,
            height_px,
            resolution_px=self.side_px,
            multiple=self.multiple_px,
            max_aspect=self.max_aspect,
        )


@cache
def video_bases() -> dict[str, Target]:
    """By name, from data/video.toml."""
    return {
        name: Target(
            str(numbers["title"]),
            round((numbers["long_side_px"] * numbers["short_side_px"]) ** 0.5),
            numbers["long_side_px"],
            numbers["multiple_px"],
            LARGEST_ASPECT,
            frame_rule(name),
        )
        for name, numbers in read_data("video").items()
    }


def target_of(base: str) -> Target:
    """By the name of a video base, of an installed base or its folder, or of a family.

    Raises BaseUnknown.
    """
    if base in video_bases():
        return video_bases()[base]
    native = native_of(base)
    return Target(
        native.title, native.side_px, native.side_px, native.multiple_px, native.max_aspect,
        native.frames,
    )  # fmt: skip
