"""A reader of attributes on latents, which tells the denoiser when its guess shows a wrong one.

The squared error of a noisy guess is nearly the same whether a sweater comes out red or blue; a
classifier of what the guess shows is not so patient. It is a perceptual loss for latents, and
weighs so little that the picture itself is still learned from the squared error.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loraloom.starter.judge import READS, labels
from loraloom.starter.training.muon import muon_and_adamw
from loraloom.starter.training.pictures import scene_of

STEPS, BATCH, RATE = 1_500, 96, 2e-3


def _block(before: int, after: int, stride: int) -> list[nn.Module]:
    size = 3 if stride == 1 else 4
    conv = nn.Conv2d(before, after, size, stride, 1, bias=False)
    return [conv, nn.BatchNorm2d(after), nn.SiLU()]


class LatentReader(nn.Module):
    """Reads latents (B, 8, 16, 16) of unit variance: logits by attribute, each (B, values)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_block(8, 64, 1), *_block(64, 64, 1),
            *_block(64, 128, 2), *_block(128, 128, 1),
            *_block(128, 192, 2), *_block(192, 192, 1),
        )  # fmt: skip
        self.mix = nn.Sequential(nn.Linear(192 * 16, 384), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(384, len(v)) for name, v in READS.items()})

    def forward(self, latents: Tensor) -> dict[str, Tensor]:
        features = self.mix(self.body(latents).flatten(1))
        return {name: head(features) for name, head in self.heads.items()}


def errors(logits: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Cross entropy of each picture, summed over its attributes that are not -1; (B,)."""
    each = [
        F.cross_entropy(logits[n].float(), wanted[n], ignore_index=-1, reduction="none")
        for n in READS
    ]
    return torch.stack(each).sum(dim=0)


def _worn(latents: Tensor, rng: random.Random) -> Tensor:
    """Blurred and noisy, as a denoiser's guesses are."""
    if rng.random() < 0.5:
        blurred = F.avg_pool2d(latents, 3, 1, 1, count_include_pad=False)
        latents = torch.lerp(latents, blurred, rng.random())
    return latents + torch.randn_like(latents) * rng.uniform(0, 0.5)


def train_reader(folder: Path, latents: Tensor, steps: int = STEPS) -> LatentReader:
    """A reader of the `latents` (N, 8, 16, 16) of the first N pictures of the base split, kept in
    folder/reader.pt."""
    path = folder / "reader.pt"
    reader = LatentReader()
    if path.exists():
        reader.load_state_dict(torch.load(path, weights_only=True))
        return reader.eval().requires_grad_(False)
    torch.manual_seed(4)
    rows = [labels(scene_of("base", index)) for index in range(len(latents))]
    wanted = {name: torch.tensor([row[name] for row in rows]) for name in READS}
    optimisers = muon_and_adamw(reader, RATE, ends=("body.0.", "heads."), weight_decay=1e-2)
    average = 0.0
    for step in range(steps):
        rng = random.Random(f"reader-{step}")
        chosen = torch.tensor([rng.randrange(len(latents)) for _ in range(BATCH)])
        for optimiser in optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1, (step + 1) / 100) * (1 - step / steps)
        worn = _worn(latents[chosen], rng).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = reader(worn)
        loss = errors(logits, {name: values[chosen] for name, values in wanted.items()}).mean()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        average += (loss.item() - average) * (0.02 if step else 1.0)
        if step % 100 == 99:
            print(f"reader: step {step + 1}, loss {average:.3f}", flush=True)
    part = path.with_suffix(".part")
    torch.save(reader.state_dict(), part)
    part.replace(path)
    return reader.eval().requires_grad_(False)
