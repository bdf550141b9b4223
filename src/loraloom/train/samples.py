"""Pictures of fixed prompts while training, through the pipeline that users run."""

from __future__ import annotations

from pathlib import Path

import torch

from loraloom.config import SamplesConfig
from loraloom.families.base import Drawing, Family
from loraloom.families.info import BaseProfile
from loraloom.families.parts import Parts, text_parts
from loraloom.files import write_png
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
) -> Sampled:
    """Draw each prompt with its fixed seed into folder/step-000123-0.png.

    Parts that were freed after caching are loaded for the while.
    """
    device, dtype = str(live.denoiser.device), live.denoiser.dtype
    parts = Parts()
    parts.take(live)
    parts.take(family.load(base, only=("vae", "scheduler"), device=device))
    texts = [p for p in text_parts(family.info.parts) if not getattr(live, p)]
    parts.take(family.load(base, only=texts, dtype=text_dtype, device=device))
    pipe = family.pipeline(parts)
    paths = []
    for number, prompt in enumerate(config.prompts):
        with torch.no_grad(), autocast(live.denoiser.device.type, dtype):
            image = family.draw(
                pipe,
                family.prompt_embeds(parts, [prompt], [""], clip_skip=clip_skip),
                Drawing(config.guidance, config.steps, profile.native_px, profile.native_px),
                torch.Generator().manual_seed(config.seed + number),
            )[0]
        paths.append(folder / f"step-{step:06d}-{number}.png")
        write_png(paths[-1], image)
    return Sampled(step, tuple(paths))
