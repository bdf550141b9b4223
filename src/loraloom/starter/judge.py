"""The judge: reads every attribute of the starter world off a picture.

Because the world is exact, likeness, obedience and bleed are counted, not guessed: the judge is a
small network trained on rendered pictures with known scenes (`loraloom.starter.training`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from loraloom.starter.world.scene import ATTRIBUTES, HELD_OUT, Identity, Scene, visible

JUDGE_FILE = Path(__file__).parent / "judge.safetensors"
SIZE_PX = 128

READS: dict[str, tuple[str, ...]] = {
    name: ATTRIBUTES.get(name, ("",)) + HELD_OUT.get(name, ())
    for name in dict.fromkeys((*ATTRIBUTES, *HELD_OUT))
}
"""Every attribute that the judge reads, with all values it can tell apart."""

Reading = dict[str, str]


class JudgeNet(nn.Module):
    """A strided convolutional network with one linear head per attribute."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 160, 192)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            if after >= 64:
                layers += [
                    nn.Conv2d(after, after, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                ]
        self.body = nn.Sequential(*layers)
        self.mix = nn.Sequential(nn.Linear(192 * 16, 384), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(384, len(v)) for name, v in READS.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """pixels (B, 3, 128, 128) in [-1, 1] to logits by attribute, each (B, values)."""
        features = self.mix(self.body(pixels).flatten(1))
        return {name: head(features) for name, head in self.heads.items()}


@dataclass(frozen=True)
class Judge:
    """A trained judge. `Judge.load()` gives the one that is shipped."""

    net: JudgeNet

    @classmethod
    def load(cls, path: Path = JUDGE_FILE) -> Judge:
        net = JudgeNet()
        net.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        )
        return cls(net.eval().requires_grad_(False))

    @torch.no_grad()
    def read(self, images: Sequence[Image.Image], *, batch: int = 64) -> list[Reading]:
        """The most likely value of every attribute, per picture (any size; judged at 128 px)."""
        readings: list[Reading] = []
        for start in range(0, len(images), batch):
            logits = self.net(to_pixels(images[start : start + batch]))
            best = {name: values.argmax(1).tolist() for name, values in logits.items()}
            count = len(images[start : start + batch])
            readings += [
                {name: READS[name][best[name][row]] for name in READS} for row in range(count)
            ]
        return readings


def to_pixels(images: Sequence[Image.Image]) -> Tensor:
    """Pictures to (B, 3, 128, 128) in [-1, 1]."""
    resized = [
        image.convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)
        for image in images
    ]
    stacked = torch.from_numpy(np.stack([np.asarray(image) for image in resized]))
    return stacked.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def labels(scene: Scene) -> dict[str, int]:
    """Index of each attribute's value, -1 (ignored in the loss) where it cannot be seen."""
    return {
        name: values.index(scene[name]) if visible(scene, name) else -1
        for name, values in READS.items()
    }


def judge_loss(logits: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    losses = [
        F.cross_entropy(logits[name], wanted[name], ignore_index=-1, reduction="sum")
        for name in READS
    ]
    return torch.stack(losses).sum() / len(next(iter(wanted.values())))


Score = tuple[int, int]
"""Right answers, questions."""


def agreement(
    scenes: Sequence[Scene], readings: Sequence[Reading], names: Sequence[str]
) -> dict[str, Score]:
    """Per attribute: how often the reading is what the scene says, of how often it can be seen."""
    scores = {}
    for name in names:
        asked = [(s, r) for s, r in zip(scenes, readings, strict=True) if visible(s, name)]
        scores[name] = (sum(r[name] == s[name] for s, r in asked), len(asked))
    return scores


def share(scores: Mapping[str, Score]) -> float:
    """Mean over attributes of the share of right answers; attributes never asked do not count."""
    shares = [right / asked for right, asked in scores.values() if asked]
    return sum(shares) / len(shares) if shares else float("nan")


CONTEXT = (
    "framing",
    "view",
    "expression",
    "gaze",
    "gesture",
    "garment",
    "garment_colour",
    "accessory",
    "background",
    "lighting",
    "style",
)


def obedience(scenes: Sequence[Scene], readings: Sequence[Reading]) -> float:
    """Share of the asked surroundings (not the identity) that the pictures show, 0..1."""
    return share(agreement(scenes, readings, CONTEXT))


def likeness(identity: Identity, scenes: Sequence[Scene], readings: Sequence[Reading]) -> float:
    """Share of the identity's visible features that the pictures show, 0..1."""
    return share(
        agreement(
            [s.with_values(**identity.values) for s in scenes], readings, list(identity.values)
        )
    )


def bleed(identity: Identity, scenes: Sequence[Scene], readings: Sequence[Reading]) -> float:
    """Share of never-seen features of the identity in pictures that did not ask for it, 0..1."""
    shown = [s.with_values(**identity.values) for s in scenes]
    return share(agreement(shown, readings, identity.held_out))
