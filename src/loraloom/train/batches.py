"""What is trained on, and which of it each batch holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from loraloom.config import DataConfig
from loraloom.dataset.buckets import Crop, choose_bucket, plan_crop
from loraloom.dataset.folder import Item
from loraloom.families.base import Geometry
from loraloom.families.info import BaseProfile
from loraloom.train import clips
from loraloom.train.streams import shuffled, stream, uniform

SHUFFLES_PER_CAPTION = 16
"""Orders of a caption's tags that are used: few enough to be encoded once, before training."""

T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """One picture, or clip, as it is trained on; crop.bucket says with how many frames."""

    path: Path
    sha256: str
    caption: str
    crop: Crop
    weight: float = 1.0
    prior: bool = False
    repeats: int = 1
    mask: Path | None = None
    """Which parts of the picture count; None: all of it."""
    mask_sha256: str = ""
    fps: float = 0.0
    """Frames a second at which its clip is taken; 0 for a picture."""

    @property
    def key(self) -> str:
        """What the picture and its caption are, wherever they stand."""
        return hashlib.sha256(f"{self.sha256}\0{self.caption}".encode()).hexdigest()

    def geometry(self, mirrored: bool = False) -> Geometry:
        """How the picture came to its size; mirrored, the cut begins as far from the other side."""
        crop, bucket = self.crop, self.crop.bucket
        left_px = crop.resized_px[0] - crop.left_px - bucket.width_px if mirrored else crop.left_px
        return Geometry(
            original_px=(crop.original_height_px, crop.original_width_px),
            crop_px=(crop.top_px, left_px),
            target_px=(bucket.height_px, bucket.width_px),
        )


@dataclass(frozen=True)
class Pick:
    """One example as a step sees it; `generator` goes on to draw its noise."""

    example: Example
    caption: str
    mirrored: bool
    generator: torch.Generator


def examples_of(
    items: Sequence[Item], data: DataConfig, profile: BaseProfile
) -> tuple[Example, ...]:
    """Each item with the crop that fits it to a size the base can train on.

    In the order of their content: file names must not change what a seed draws. Raises
    DatasetProblems naming the clips that have too few frames.
    """
    clips.refuse_short(items, data, profile)
    examples = (_example(item, data, profile) for item in items)
    return tuple(sorted(examples, key=lambda example: example.key))


def split(
    examples: Sequence[Example], fraction: float, seed: int
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(training, held out): a share chosen by content, at least one of five or more."""
    count = round(len(examples) * fraction)
    if fraction > 0 and len(examples) >= 5:
        count = max(count, 1)
    order = sorted(examples, key=lambda e: hashlib.sha256(f"{seed}{e.key}".encode()).digest())
    held_out = set(order[:count])
    return tuple(e for e in examples if e not in held_out), tuple(order[:count])


def plan(
    examples: Sequence[Example], batch_size: int, count: int, share: float, seed: int
) -> list[tuple[Example, ...]]:
    """`count` batches of one bucket each; every example comes as often as its repeats say.

    `share` of the places go to prior examples, spread evenly, where the bucket has any.
    """
    examples = [example for example in examples for _ in range(example.repeats)]
    own = [example for example in examples if not example.prior]
    buckets = _endless([e.crop.bucket for e in own], stream(seed, "buckets"))
    queues: dict[tuple[object, bool], Iterator[Example]] = {}
    for bucket in {e.crop.bucket for e in own}:
        for prior in (False, True):
            members = [e for e in examples if e.crop.bucket == bucket and e.prior == prior]
            if members:
                generator = stream(seed, "order", bucket, prior)
                queues[bucket, prior] = _endless(members, generator)
    batches = []
    for number in range(count):
        bucket = next(buckets)
        first, last = number * batch_size, (number + 1) * batch_size
        priors = int(last * share) - int(first * share) if (bucket, True) in queues else 0
        batches.append(tuple(next(queues[bucket, place < priors]) for place in range(batch_size)))
    return batches


def pick(example: Example, data: DataConfig, seed: int, step: int, place: int) -> Pick:
    """The example's caption and mirroring at one place of one step."""
    generator = stream(seed, "pick", step, place, example.key)
    dropped = uniform(generator) < data.caption_dropout
    mirrored = uniform(generator) < 0.5 and data.mirror
    variants = caption_variants(example, data, seed)
    chosen = variants[int(uniform(generator) * len(variants))]
    return Pick(example, "" if dropped else chosen, mirrored, generator)


def caption_variants(example: Example, data: DataConfig, seed: int) -> tuple[str, ...]:
    """The caption, or a fixed few of its shuffled orders, the first `keep_tags` in place."""
    tags = [tag.strip() for tag in re.split("[,，]", example.caption)]
    kept, loose = tags[: data.keep_tags], tags[data.keep_tags :]
    if not data.shuffle_tags or len(loose) < 2:
        return (example.caption,)
    orders = (
        shuffled(loose, stream(seed, "tags", example.key, number))
        for number in range(SHUFFLES_PER_CAPTION)
    )
    between = ", " if "," in example.caption else "，"
    return tuple(between.join([*kept, *order]) for order in orders)


def _example(item: Item, data: DataConfig, profile: BaseProfile) -> Example:
    crop, rule = _crop(item, data, profile), profile.frames
    example = Example(
        item.path,
        item.sha256,
        item.caption,
        crop,
        repeats=item.repeats,
        mask=item.mask,
        mask_sha256=item.mask_sha256,
    )
    if not rule or not item.frames:
        return example
    bucket = replace(crop.bucket, frames=clips.used_frames(item, data, rule))
    return replace(example, crop=replace(crop, bucket=bucket), fps=float(rule.fps))


def _crop(item: Item, data: DataConfig, profile: BaseProfile) -> Crop:
    bucket = choose_bucket(
        item.width_px,
        item.height_px,
        resolution_px=data.resolution_px or profile.native_px,
        multiple=profile.size_multiple_px,
        max_aspect=profile.max_aspect,
    )
    return replace(plan_crop(item.width_px, item.height_px, bucket), region=item.region)


def _endless(values: list[T], generator: torch.Generator) -> Iterator[T]:
    while True:
        yield from shuffled(values, generator)
