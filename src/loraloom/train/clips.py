"""Clips among the examples of a base of video: which of their frames are used, and what to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loraloom.config import DataConfig, PriorConfig
from loraloom.dataset.folder import Item
from loraloom.errors import ConfigInvalid, DatasetProblems
from loraloom.families.info import BaseProfile, FrameRule

UNUSED_S = 0.5
"""So much of a clip after the last frame that is used is worth a word."""


def used_frames(item: Item, data: DataConfig, rule: FrameRule) -> int:
    """Of a clip, from its first, at the base's rate; a picture has one."""
    return rule.largest(min(item.frames_at(rule.fps), data.frames or rule.most))


def refuse_short(items: Sequence[Item], data: DataConfig, profile: BaseProfile) -> None:
    """Raise DatasetProblems naming the clips of which a single frame would be left."""
    rule = profile.frames
    if not rule or data.frames == 1:
        return
    least = rule.step + 1
    short = [item for item in items if item.frames and item.frames_at(rule.fps) < least]
    if short:
        raise DatasetProblems(
            [f"{item.path.name}: is too short: {item.frames_at(rule.fps)} frames at {rule.fps} a "
             f"second, and {least} are needed; use a longer part, or save it as a picture"
             for item in short]
        )  # fmt: skip


def refuse_prior(items: Sequence[Item], prior: PriorConfig) -> None:
    """Raise ConfigInvalid where class pictures were to be mixed with clips."""
    if prior.images and any(item.frames for item in items):
        raise ConfigInvalid(
            f"prior.images = {prior.images} is not possible with clips: class pictures do not "
            "move, and would teach the base to stand still. Set prior.images = 0."
        )


def warnings(items: Sequence[Item], data: DataConfig, profile: BaseProfile) -> Iterator[str]:
    """What the user should know of the clips, in sentences."""
    rule, moving = profile.frames, [item for item in items if item.frames]
    if not rule or not moving:
        return
    longer = sum(
        item.frames_at(rule.fps) - used_frames(item, data, rule) > UNUSED_S * rule.fps
        for item in moving
    )
    if longer:
        yield (
            f"{longer} of {len(moving)} clips go on after the frames that are used, at most "
            f"{data.frames or rule.most} at {rule.fps} a second; only their beginning is learnt. "
            "`loraloom dataset prepare --clip-seconds` cuts them into parts."
        )
    slower = sum(0 < item.fps < rule.fps - 0.5 for item in moving)
    if slower:
        yield (
            f"{slower} of {len(moving)} clips have fewer frames a second than the {rule.fps} that "
            f"{profile.family} takes: some frames come twice, and what moves will stutter."
        )
