"""Pictures or clips of fixed prompts while training, through the pipeline that users run."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from loraloom.config import Quantisation, SamplesConfig
from loraloom.dataset.prepare import encode
from loraloom.families.base import Drawing, Family
from loraloom.families.info import BaseProfile
from loraloom.families.parts import PartName, Parts, text_parts
from loraloom.files import write_png
from loraloom.train import quantised
from loraloom.train.events import Sampled
from loraloom.train.precision import autocast


def sample(
    config: SamplesConfig,
    family: Family,
    base: Path,
    profile: BaseProfile,
    live: Parts,
    folder: Path,
    step: int,
    *,
    clip_skip: int,
    text_dtype: torch.dtype | None,
    frames: int = 1,
    quantisation: Quantisation = "none",
    write: bool = True,
) -> Sampled:
    """Draw each prompt with its fixed seed into folder/step-000123-0.png; a clip as .mp4 too.

    Parts that were freed after caching are loaded for the while. Without `write` the pictures are
    drawn only, along with another process that shares the base.
    """
    device, dtype = str(live.denoiser.device), live.denoiser.dtype
    parts = Parts()
    parts.take(live)
    parts.take(family.load(base, only=("vae", "scheduler"), device=device))
    second: list[PartName] = [p for p in family.info.parts if p == "denoiser_2"]
    texts = [p for p in text_parts(family.info.parts) if not getattr(live, p)]
    for names, format_ in ((second, dtype), (texts, text_dtype)):
        parts.take(
            quantised.load(
                family, base, names, dtype=format_, device=device, quantisation=quantisation
            )
        )
    pipe = family.pipeline(parts)
    multiple = profile.size_multiple_px
    side_px = profile.native_px // multiple * multiple
    paths = []
    for number, prompt in enumerate(config.prompts):
        with torch.no_grad(), autocast(live.denoiser.device.type, dtype):
            drawn = family.film(
                pipe,
                family.prompt_embeds(parts, [prompt], [""], clip_skip=clip_skip),
                Drawing(config.guidance, config.steps, side_px, side_px, config.frames or frames),
                torch.Generator().manual_seed(config.seed + number),
            )[0]
        stem = folder / f"step-{step:06d}-{number}"
        if write:
            paths.append(_write(stem, drawn, profile.frames.fps if profile.frames else 0))
    return Sampled(step, tuple(paths))


def _write(stem: Path, frames: list[Image.Image], fps: int) -> Path:
    """A picture, or several frames as a clip and the first one beside it. Raises DiskFull,
    OutputUnwritable."""
    picture, clip = stem.with_suffix(".png"), stem.with_suffix(".mp4")
    write_png(picture, frames[0])
    if len(frames) == 1:
        return picture
    encode.write_mp4(clip, frames, fps)
    return clip
