"""Pictures of the class by the base itself, so that an adapter does not pull the class along.

Ruiz et al. 2022 (DreamBooth, arXiv:2208.12242), section 3.3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch

from loraloom.config import TrainConfig
from loraloom.dataset.buckets import Bucket, plan_crop
from loraloom.families.base import Drawing, Family
from loraloom.files import write_png
from loraloom.kinds import info, own_words
from loraloom.train import quantised
from loraloom.train.batches import Example
from loraloom.train.events import Stage
from loraloom.train.precision import autocast
from loraloom.train.streams import stream

PICTURES_AT_ONCE = 8


@dataclass(frozen=True)
class _Order:
    number: int
    prompt: str
    bucket: Bucket
    path: Path


def generate(
    config: TrainConfig,
    family: Family,
    base: Path,
    examples: Sequence[Example],
    folder: Path,
    *,
    device: str,
    dtype: torch.dtype,
) -> Iterator[Stage]:
    """Write config.prior.images pictures into `folder`, in the sizes of the examples.

    Batches are fixed, and one is drawn anew where any of its pictures is missing: stopping in
    between changes nothing.
    """
    orders = _orders(config, examples, folder)
    missing = [batch for batch in _batches(orders) if not all(o.path.is_file() for o in batch)]
    if not missing:
        return
    parts = quantised.load(
        family, base, None, dtype=dtype, device=device, quantisation=config.quantisation
    )
    pipe = family.pipeline(parts)
    done = len(orders) - sum(map(len, missing))
    for batch in missing:
        yield Stage("prior", done, len(orders))
        prompts = [order.prompt for order in batch]
        negatives, size = [""] * len(batch), batch[0].bucket
        with torch.no_grad(), autocast(device, dtype):
            images = family.draw(
                pipe,
                family.prompt_embeds(parts, prompts, negatives, clip_skip=config.clip_skip),
                Drawing(config.prior.guidance, config.prior.steps, size.width_px, size.height_px),
                [stream(config.seed, "prior", order.number) for order in batch],
            )
        for order, image in zip(batch, images, strict=True):
            write_png(order.path, image, durable=True)
        done += len(batch)
    yield Stage("prior", done, len(orders))


def examples_of(
    config: TrainConfig, examples: Sequence[Example], folder: Path
) -> tuple[Example, ...]:
    """The generated pictures as examples with the prior's weight."""
    return tuple(
        Example(
            path=order.path,
            sha256=hashlib.sha256(order.path.read_bytes()).hexdigest(),
            caption=order.prompt,
            crop=plan_crop(order.bucket.width_px, order.bucket.height_px, order.bucket),
            weight=config.prior.weight,
            prior=True,
        )
        for order in _orders(config, examples, folder)
    )


def class_prompt(caption: str, config: TrainConfig) -> str:
    """The caption as the base would understand it: class words in place of the trigger."""
    if config.prior.class_prompt:
        return config.prior.class_prompt
    for trigger in config.triggers:
        words = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)", re.IGNORECASE)
        called = config.prior.class_words or own_words(trigger) or info(config.kind).class_words
        caption = words.sub(called.replace("\\", r"\\"), caption)
    return caption


def _orders(config: TrainConfig, examples: Sequence[Example], folder: Path) -> list[_Order]:
    orders = []
    for number in range(config.prior.images if examples else 0):
        example = examples[number % len(examples)]
        path = folder / f"{number:04d}.png"
        prompt = class_prompt(example.caption, config)
        orders.append(_Order(number, prompt, example.crop.bucket, path))
    return orders


def _batches(orders: Sequence[_Order]) -> Iterator[list[_Order]]:
    def size(order: _Order) -> tuple[int, int]:
        return order.bucket.width_px, order.bucket.height_px

    for _, same_size in groupby(sorted(orders, key=size), key=size):
        members = list(same_size)
        for start in range(0, len(members), PICTURES_AT_ONCE):
            yield members[start : start + PICTURES_AT_ONCE]
