"""Pictures of fixed prompts while training, through the pipeline that users run."""

from __future__ import annotations

from pathlib import Path

import torch

from loraloom.config import SamplesConfig
from loraloom.families.base import BaseProfile, Family, Parts
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
) -> Sampled:
    """Draw each prompt with its fixed seed into folder/step-000123-0.png.

    Parts that were freed after caching are loaded for the while.
    """
    device, dtype = str(live.denoiser.device), live.denoiser.dtype
    parts = family.load(base, only=("text_encoder", "tokenizer", "vae", "scheduler"), device=device)
    parts.denoiser = live.denoiser
    parts.text_encoder = live.text_encoder or parts.text_encoder
    pipe = family.pipeline(parts)
    paths = []
    for number, prompt in enumerate(config.prompts):
        with torch.no_grad(), autocast(live.denoiser.device.type, dtype):
            image = pipe(
                **family.prompt_embeds(parts, [prompt], [""], clip_skip=clip_skip),
                generator=torch.Generator().manual_seed(config.seed + number),
                width=profile.native_px,
                height=profile.native_px,
                num_inference_steps=config.steps,
                guidance_scale=config.guidance,
            ).images[0]
        paths.append(folder / f"step-{step:06d}-{number}.png")
        write_png(paths[-1], image)
    return Sampled(step, tuple(paths))
