"""Latents and text conditions, encoded once and found again by what they are of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from loraloom.dataset import footage, masks
from loraloom.dataset.buckets import apply_crop
from loraloom.dataset.images import open_rgb
from loraloom.families.base import Condition, Embeds, Family
from loraloom.families.info import FrameRule
from loraloom.families.parts import Parts
from loraloom.files import write_atomic
from loraloom.train.batches import Example
from loraloom.train.events import Stage

MEMORY_LIMIT_BYTES = 1 << 30
_LISTED = "[]"
"""Ends the name of what a pipeline takes as a list of prompts, and not as rows."""


class TensorCache:
    """Named tensors by key, in a folder; kept in memory too up to `memory_bytes`."""

    def __init__(self, folder: Path, memory_bytes: int = MEMORY_LIMIT_BYTES) -> None:
        self._folder = folder
        self._room = memory_bytes
        self._memory: dict[str, dict[str, Tensor]] = {}

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __getitem__(self, key: str) -> dict[str, Tensor]:
        tensors = self.get(key)
        assert tensors is not None, "the cache is filled before training"
        return tensors

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors, or None where there are none or their file is broken."""
        if key in self._memory:
            return self._memory[key]
        try:
            tensors = load((self._folder / f"{key}.safetensors").read_bytes())
        except (OSError, SafetensorError):
            return None
        self._remember(key, tensors)
        return tensors

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Store copies on the CPU."""
        copies = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_atomic(self._folder / f"{key}.safetensors", save(copies), durable=False)
        self._remember(key, copies)

    def _remember(self, key: str, tensors: dict[str, Tensor]) -> None:
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size <= self._room:
            self._room -= size
            self._memory[key] = tensors


def latent_key(vae_id: str, example: Example, mirrored: bool) -> str:
    """The VAE, the picture or clip, its crop and mirroring; never its place in a list."""
    return _key("latent", vae_id, example.sha256, asdict(example.crop), example.fps, mirrored)


def mask_key(example: Example, mirrored: bool, cells: tuple[int, int]) -> str:
    """The mask, its picture's crop and mirroring, and the latents' height and width."""
    return _key("mask", example.mask_sha256, asdict(example.crop), mirrored, cells)


def text_key(encoder_id: str, clip_skip: int, caption: str) -> str:
    """The text encoder with its tokenizer, and the caption."""
    return _key("text", encoder_id, clip_skip, caption)


def prompt_key(encoder_id: str, clip_skip: int, prompt: str) -> str:
    """The text encoder with its tokenizer, and what is to be drawn."""
    return _key("prompt", encoder_id, clip_skip, prompt)


def fill_latents(
    cache: TensorCache,
    family: Family,
    vae: Any,
    wanted: Mapping[str, tuple[Example, bool]],
    rule: FrameRule | None = None,
) -> Iterator[Stage]:
    """Mean and std of each picture's latents (C, …); `wanted`: key -> example, mirrored.

    With the `rule` of a base of video they are those of clips, (C, f, h, w).
    One at a time, so that a latent never depends on what it was encoded with.
    """

    def encode(key: str) -> dict[str, Tensor]:
        example, mirrored = wanted[key]
        pixels = load_clip(example, mirrored) if rule else load_pixels(example, mirrored)
        mean, std = family.encode_image(vae, pixels.unsqueeze(0).to(vae.device))
        if rule:
            mean, std = (in_groups(latent, rule.group) for latent in (mean, std))
        return {"mean": mean[0].float(), "std": std[0].float()}

    yield from _fill(cache, "latents", wanted, encode)


def fill_masks(
    cache: TensorCache, wanted: Mapping[str, tuple[Example, bool, tuple[int, int]]]
) -> Iterator[Stage]:
    """The share of each latent cell that a mask covers (h, w) in [0, 1].

    `wanted`: key -> example, mirrored, the latents' height and width.
    """

    def encode(key: str) -> dict[str, Tensor]:
        example, mirrored, cells = wanted[key]
        pixels = load_mask(example, mirrored).unsqueeze(0)
        return {"cells": torch.nn.functional.adaptive_avg_pool2d(pixels, cells)[0]}

    if wanted:
        yield from _fill(cache, "masks", wanted, encode)


def fill_texts(
    cache: TensorCache, family: Family, parts: Parts, clip_skip: int, wanted: Mapping[str, str]
) -> Iterator[Stage]:
    """The condition of each caption; `wanted`: key -> caption."""

    def encode(key: str) -> dict[str, Tensor]:
        condition = family.encode_text(parts, [wanted[key]], clip_skip=clip_skip)[0]
        return {name: tensor.float() for name, tensor in condition.tensors.items()}

    yield from _fill(cache, "captions", wanted, encode)


def fill_prompts(
    cache: TensorCache, family: Family, parts: Parts, clip_skip: int, wanted: Mapping[str, str]
) -> Iterator[Stage]:
    """What the pipeline takes for each prompt; `wanted`: key -> prompt."""

    def encode(key: str) -> dict[str, Tensor]:
        embeds = family.prompt_embeds(parts, [wanted[key]], [""], clip_skip=clip_skip)
        return {
            name + (_LISTED if isinstance(rows, list) else ""): rows[0]
            for name, rows in embeds.items()
        }

    if wanted:
        yield from _fill(cache, "prompts", wanted, encode)


def condition(cache: TensorCache, key: str) -> Condition:
    """A cached text condition."""
    return Condition(cache[key])


def prompt_embeds(cache: TensorCache, key: str, device: str) -> Embeds:
    """A cached prompt, one row."""
    embeds: Embeds = {}
    for name, tensor in cache[key].items():
        row = tensor.to(device)
        embeds[name.removesuffix(_LISTED)] = [row] if name.endswith(_LISTED) else row[None]
    return embeds


def load_pixels(example: Example, mirrored: bool) -> Tensor:
    """The cropped picture as (3, H, W) in [-1, 1]."""
    return _pixels(open_rgb(example.path), example, mirrored)


def load_clip(example: Example, mirrored: bool) -> Tensor:
    """The cropped frames as (3, F, H, W) in [-1, 1]; a picture is a clip of one frame.

    Raises ImageUnreadable.
    """
    if not example.fps:
        return load_pixels(example, mirrored).unsqueeze(1)
    frames = footage.frames(example.path, example.crop.bucket.frames, example.fps)
    return torch.stack([_pixels(frame, example, mirrored) for frame in frames], dim=1)


def in_groups(latents: Tensor, size: int) -> Tensor:
    """Latents (B, C, f, h, w) with the first frame again before it, until `size` divides f."""
    missing = -latents.shape[2] % size
    return torch.cat([latents[:, :, :1]] * missing + [latents], dim=2)


def _pixels(image: Image.Image, example: Example, mirrored: bool) -> Tensor:
    image = apply_crop(image, example.crop)
    if mirrored:
        image = ImageOps.mirror(image)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32))
    return pixels.permute(2, 0, 1) / 127.5 - 1


def load_mask(example: Example, mirrored: bool) -> Tensor:
    """The mask as its picture is cropped (H, W), from 0, not learnt, to 1, learnt."""
    assert example.mask is not None
    grey = masks.to_image(masks.read(example.mask, example.mask.name))
    # By area: other filters reach, or ring, across the edge of what counts.
    image: Image.Image = apply_crop(grey, example.crop, Image.Resampling.BOX)
    if mirrored:
        image = ImageOps.mirror(image)
    return torch.from_numpy(np.array(image, dtype=np.float32)) / 255


def _fill(
    cache: TensorCache,
    name: str,
    keys: Iterable[str],
    encode: Callable[[str], dict[str, Tensor]],
) -> Iterator[Stage]:
    missing = [key for key in keys if key not in cache]
    for done, key in enumerate(missing):
        yield Stage(name, done, len(missing))
        with torch.no_grad():
            tensors = encode(key)
        cache.put(key, tensors)
    yield Stage(name, len(missing), len(missing))


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
