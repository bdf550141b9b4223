"""Stable Diffusion 2.x: the UNet of version 1 with OpenCLIP-H's text, 1024 wide.

Version 2.1 predicts v, its 512 px base epsilon, as the scheduler's config tells; so with
zero-terminal SNR (Lin et al. 2023, arXiv:2305.08891): `rescale_betas_zero_snr` there.
"""

from __future__ import annotations

from dataclasses import replace

from loraloom.families import sd15, unet
from loraloom.kinds import read_data

INFO = replace(
    sd15.INFO,
    id="sd21",
    title="Stable Diffusion 2.1",
    licence="CreativeML Open RAIL++-M",
    prompt_style="hybrid",
    native_px=768,
    context_width=sd15.SD2_TEXT_WIDTH,
    checkpoint={**unet.CHECKPOINT, "cond_stage_model.model.ln_final.weight": (1024,)},
    base_version="sd_v2",
    architecture="stable-diffusion-v2-768-v/lora",
    data=read_data("sd21"),
)

FAMILY = sd15.StableDiffusion(INFO, version=2)
