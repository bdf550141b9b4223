"""Train the AutoencoderKL of the starter base."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from loraloom.starter.judge import Judge
from loraloom.starter.training.muon import muon_and_adamw
from loraloom.starter.training.pictures import SIZE_PX, pictures, to_pixels
from loraloom.starter.training.progress import Stage

LATENT_CHANNELS = 8
LATENTS_FILE = "latents.pt"
STATE_FILE = "codec.pt"
CONFIG = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": LATENT_CHANNELS,
    "block_out_channels": (16, 32, 64, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": SIZE_PX,
    "mid_block_add_attention": False,
}


PERCEPTUAL = 0.1
CROP_PX = 64
CROPPED_SHARE = 0.85
"""Share of the stage that trains on cuts; whole pictures end it."""


def build_codec() -> AutoencoderKL:
    return AutoencoderKL(**CONFIG)


def trained_codec(folder: Path) -> AutoencoderKL | None:
    """The codec as far as folder/codec.pt has it, to be used and not trained; None before."""
    path = folder / STATE_FILE
    if not path.exists():
        return None
    codec = build_codec()
    codec.load_state_dict(torch.load(path, weights_only=True)["module"])
    return codec.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def _seen(judge: Judge, pixels: Tensor) -> list[Tensor]:
    """What the judge's first layers see, at a fourth and an eighth of the size."""
    fine = judge.net.body[:9](pixels)
    return [fine, judge.net.body[9:15](fine)]


def loss_of(codec: AutoencoderKL, judge: Judge, pixels: Tensor, noise: Tensor) -> Tensor:
    """L1 + squared error + colour of 8 × 8 patches + edges (eyes are thin lines) + what the judge
    sees (a perceptual loss: a mouth is few pixels) + a light KL."""
    posterior = codec.encode(pixels).latent_dist
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    decoded = codec.decode((mean + torch.exp(0.5 * logvar) * noise).to(pixels.dtype)).sample
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    edges = sum(F.l1_loss(a, b) for a, b in zip(_edges(decoded), _edges(pixels), strict=True))
    colour = F.l1_loss(F.avg_pool2d(decoded, 8), F.avg_pool2d(pixels, 8))
    seen = sum(
        F.l1_loss(a, b) for a, b in zip(_seen(judge, decoded), _seen(judge, pixels), strict=True)
    )
    fine = F.l1_loss(decoded, pixels) + 2 * F.mse_loss(decoded, pixels)
    total: Tensor = fine + 2 * colour + 0.5 * edges + PERCEPTUAL * seen + 1e-4 * kl
    return total


def _whole(
    base: NDArray[np.uint8], wide: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    halves = (source[np.sort(rng.integers(len(source), size=2))] for source in (base, wide))
    return np.concatenate(list(halves))


def _crops(
    base: NDArray[np.uint8], wide: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Sixteen 64 × 64 cuts, each of another picture: more variety for the same arithmetic."""
    cuts = []
    for source in (base, wide) * 8:
        x, y = rng.integers(0, SIZE_PX - CROP_PX + 1, size=2)
        cuts.append(source[rng.integers(len(source)), y : y + CROP_PX, x : x + CROP_PX])
    return np.stack(cuts)


def train_codec(folder: Path, judge: Judge, minutes: float) -> AutoencoderKL:
    """Train for `minutes`; resumes from folder/codec.pt.

    Once latents have been encoded for the denoiser, only the decoder learns on.
    """
    torch.manual_seed(0)
    codec = build_codec().to(memory_format=torch.channels_last)
    if (folder / LATENTS_FILE).exists():
        codec.encoder.requires_grad_(False)
        codec.quant_conv.requires_grad_(False)
    ends = ("encoder.conv_in", "decoder.conv_out")
    optimisers = muon_and_adamw(codec, 2e-3, ends, weight_decay=0)
    stage = Stage(folder / STATE_FILE, codec, optimisers, minutes=minutes, rate=2e-3)
    base, wide = pictures(folder, "base"), pictures(folder, "wide")
    for step in stage.steps():
        rng = np.random.default_rng(step)
        batch = _crops(base, wide, rng) if stage.share < CROPPED_SHARE else _whole(base, wide, rng)
        pixels = to_pixels(batch).contiguous(memory_format=torch.channels_last)
        shape = (len(pixels), LATENT_CHANNELS, pixels.shape[-2] // 8, pixels.shape[-1] // 8)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(codec, judge, pixels, noise)
        stage.descend(loss)
    return codec
