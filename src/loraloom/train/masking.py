"""Masks at the size of the latents: which cells count, and how much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from loraloom.train import cache
from loraloom.train.batches import Example
from loraloom.train.cache import TensorCache
from loraloom.train.events import Stage
from loraloom.train.setup import Setup


def fill(setup: Setup, tensors: TensorCache, examples: tuple[Example, ...]) -> Iterator[Stage]:
    """Put each example's mask into the cache, once its latents are there."""
    wanted = {}
    for key, (example, mirrored) in setup.wanted_latents(examples).items():
        if setup.masked(example):
            cells = _cells(tensors[key]["mean"])
            wanted[cache.mask_key(example, mirrored, cells)] = (example, mirrored, cells)
    yield from cache.fill_masks(tensors, wanted)


def weights(
    setup: Setup, tensors: TensorCache, example: Example, mirrored: bool, latent: Tensor
) -> Tensor | None:
    """Weights (1, …, h, w) of the cells of a latent (C, …, h, w); None: all count alike."""
    if not setup.masked(example):
        return None
    covered = tensors[cache.mask_key(example, mirrored, _cells(latent))]["cells"]
    floor = setup.config.data.mask_floor
    shape = [1] * (latent.ndim - 2)
    return (floor + (1 - floor) * covered).view(*shape, *covered.shape)


def holds_base(setup: Setup, batch: Sequence[Example]) -> bool:
    """Whether the base's own prediction is asked for outside the masks of a batch."""
    return setup.config.data.mask_prior > 0 and any(map(setup.masked, batch))


def stack(masks: Sequence[Tensor | None], latents: Tensor) -> Tensor | None:
    """The masks of a batch (B, 1, …, h, w), of latents (B, C, …, h, w); None where none has one."""
    if all(mask is None for mask in masks):
        return None
    whole = torch.ones_like(latents[0, :1])
    return torch.stack([whole if m is None else m.to(whole).expand_as(whole) for m in masks])


def _cells(latent: Tensor) -> tuple[int, int]:
    return latent.shape[-2], latent.shape[-1]
