"""What drawing a sample holds, from shapes alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from loraloom.dataset.buckets import Bucket
from loraloom.families.base import Family
from loraloom.families.latents import TILE_PX
from loraloom.train import footprint


def held_bytes(
    family: Family,
    denoiser: nn.Module,
    vae: Any,
    bucket: Bucket,
    latent_shape: tuple[int, ...],
    *,
    rows: int,
    gpu: bool,
) -> int:
    """The most that is held at once beside the weights: by the denoiser, with as many rows as
    guidance takes, or by the VAE, which on a GPU takes a picture in tiles where it has no room for
    the whole. Both are on the meta device; `latent_shape`: (C, …, h, w).
    """
    dtype = next(p.dtype for p in denoiser.parameters() if not p.requires_grad)
    exact = family.info.parts["vae"].always_float32
    decoded = latent_shape
    if gpu and not family.info.frames:
        tile = TILE_PX * latent_shape[-1] // bucket.width_px
        decoded = (*latent_shape[:-2], *(min(side, tile) for side in latent_shape[-2:]))
    x_t = torch.empty(rows, *latent_shape, dtype=dtype, device="meta")
    condition = footprint.condition(family, denoiser, bucket, rows, dtype)
    times = torch.empty(rows, device="meta")
    with torch.no_grad():
        with footprint.Held() as denoising, footprint.AsTrained(dtype, gpu):
            family.predict(denoiser, x_t, times, condition)
        latents = torch.empty(1, *decoded, device="meta")
        as_decoded = footprint.AsTrained(torch.float32 if exact else dtype, gpu)
        with footprint.Held() as decoding, as_decoded:
            family.decode(vae, latents)
    return int(max(denoising.peak_bytes, decoding.peak_bytes))
