"""Train the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from loraloom.starter.judge import READS, Judge, JudgeNet, judge_loss, labels
from loraloom.starter.training.codec import trained_codec
from loraloom.starter.training.muon import muon_and_adamw
from loraloom.starter.training.pictures import pictures, scene_of, to_pixels
from loraloom.starter.training.progress import Stage

HALF = 24
"""Pictures of each split in a batch."""
DECODED_SHARE = 0.4
"""Share of the batches that the codec has encoded and decoded."""


def _labels(split: str, count: int) -> dict[str, Tensor]:
    rows = [labels(scene_of(split, index)) for index in range(count)]
    return {name: torch.tensor([row[name] for row in rows]) for name in READS}


def worn(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Blur and noise like a codec's, so that the judge reads generated pictures as well."""
    if rng.random() < 0.4:
        side = int(rng.integers(72, 128))
        small = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
        pixels = F.interpolate(small, size=pixels.shape[-2:], mode="bilinear")
    noise = torch.from_numpy(rng.standard_normal(pixels.shape, dtype=np.float32))
    return pixels + noise * float(rng.uniform(0, 0.06))


@torch.no_grad()
def decoded(codec: AutoencoderKL, pixels: Tensor) -> Tensor:
    """The pictures as the codec gives them back."""
    with torch.autocast("cpu", torch.bfloat16):
        back: Tensor = codec.decode(codec.encode(pixels).latent_dist.mean).sample
    return back.float()


def train_judge(folder: Path, minutes: float) -> Judge:
    """Train for `minutes`; resumes from folder/judge.pt.

    Where the codec has been trained, a share of the pictures has gone through it: all that a
    judge is asked about has.
    """
    torch.manual_seed(2)
    codec = trained_codec(folder)
    net = JudgeNet().train()
    optimisers = muon_and_adamw(net, 2e-3, ends=("body.0.", "heads."), weight_decay=1e-2)
    stage = Stage(folder / "judge.pt", net, optimisers, minutes=minutes, rate=2e-3)
    splits = {split: (pictures(folder, split)) for split in ("base", "wide")}
    wanted = {split: _labels(split, len(stack)) for split, stack in splits.items()}
    for step in stage.steps():
        rng = np.random.default_rng(step)
        chosen = {
            split: np.sort(rng.integers(len(stack), size=HALF)) for split, stack in splits.items()
        }
        pixels = to_pixels(np.concatenate([splits[s][chosen[s]] for s in splits]))
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if codec and rng.random() < DECODED_SHARE:
            pixels = decoded(codec, pixels)
        else:
            pixels = worn(pixels, rng)
        asked = {n: torch.cat([wanted[s][n][chosen[s]] for s in splits]) for n in READS}
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(pixels)
        stage.descend(judge_loss({name: values.float() for name, values in logits.items()}, asked))
    return Judge(net.eval().requires_grad_(False))
