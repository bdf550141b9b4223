"""Pictures or clips of fixed prompts while training, through the pipeline that users run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from loraloom.dataset.prepare import encode
from loraloom.families import latents
from loraloom.families.base import Drawing, Embeds, Family
from loraloom.families.parts import PartName, Parts
from loraloom.files import write_png
from loraloom.train import cache, machine
from loraloom.train.cache import TensorCache
from loraloom.train.events import Sampled
from loraloom.train.model import Model
from loraloom.train.precision import autocast
from loraloom.train.setup import Setup


def sample(
    setup: Setup, live: Model, tensors: TensorCache, step: int, *, write: bool = True
) -> Sampled:
    """Draw each prompt with its fixed seed into samples/step-000123-0.png; a clip as .mp4 too.

    Parts that were freed after caching are loaded for the while, but for text encoders that are not
    trained: their prompts are in the cache. Without `write` the pictures are drawn only, along with
    another process that shares the base.
    """
    config, family, profile = setup.config.samples, setup.family, setup.profile
    parts = Parts()
    parts.take(live.parts)
    parts.take(family.load(setup.base, only=("vae", "scheduler"), device=setup.device))
    second: list[PartName] = [p for p in family.info.parts if p == "denoiser_2"]
    parts.take(setup.load(second))
    pipe = family.pipeline(parts)
    if setup.config.shard_base and not family.info.frames:
        # Whatever memory each process has, all must do alike.
        latents.in_tiles(pipe.vae)
    multiple = profile.size_multiple_px
    side_px = profile.native_px // multiple * multiple
    frames = config.frames or setup.config.data.frames or 1
    paths = []
    for number, prompt in enumerate(config.prompts):
        with torch.no_grad(), autocast(setup.device, setup.dtype):
            embeds = _embeds(setup, parts, tensors, prompt)
            how = Drawing(config.guidance, config.steps, side_px, side_px, frames)
            drawn = _film(family, pipe, embeds, how, config.seed + number)
        stem = setup.out / "samples" / f"step-{step:06d}-{number}"
        if write:
            paths.append(_write(stem, drawn, profile.frames.fps if profile.frames else 0))
    return Sampled(step, tuple(paths))


def _film(family: Family, pipe: Any, embeds: Embeds, how: Drawing, seed: int) -> list[Image.Image]:
    """The frames; decoded in tiles from the first picture on that the memory is too small for."""
    try:
        return family.film(pipe, embeds, how, torch.Generator().manual_seed(seed))[0]
    except RuntimeError as error:
        # Clips are in tiles already where that helps.
        if not machine.is_exhausted(error) or family.info.frames or pipe.vae.use_tiling:
            raise
        latents.in_tiles(pipe.vae)
    torch.cuda.empty_cache()
    return family.film(pipe, embeds, how, torch.Generator().manual_seed(seed))[0]


def _embeds(setup: Setup, parts: Parts, tensors: TensorCache, prompt: str) -> Embeds:
    if setup.text_encoder_steps:
        clip_skip = setup.config.clip_skip
        return setup.family.prompt_embeds(parts, [prompt], [""], clip_skip=clip_skip)
    return cache.prompt_embeds(tensors, setup.prompt_key(prompt), setup.device)


def _write(stem: Path, frames: list[Image.Image], fps: int) -> Path:
    """A picture, or several frames as a clip and the first one beside it. Raises DiskFull,
    OutputUnwritable."""
    picture, clip = stem.with_suffix(".png"), stem.with_suffix(".mp4")
    write_png(picture, frames[0])
    if len(frames) == 1:
        return picture
    encode.write_mp4(clip, frames, fps)
    return clip
