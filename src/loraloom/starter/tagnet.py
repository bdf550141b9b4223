"""The starter's tagger as a network: the judge's kind, smaller, that answers with tags.

It is shipped as `tagger/model.onnx` in the layout of WD14 taggers: NHWC pictures in BGR with values
0..255 in, one value 0..1 a tag out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from loraloom.starter.judge import READS, JudgeNet
from loraloom.starter.tags import TAGS
from loraloom.starter.world.scene import COLOURLESS_STYLE, PEOPLE

WIDTH = 224
NEAR = ("close-up", "upper body")


class TagNet(nn.Module):
    """The judge's convolutions under a narrower last layer, with one head an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.body = JudgeNet().body
        self.mix = nn.Sequential(nn.Linear(192 * 16, WIDTH), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, len(v)) for name, v in READS.items()})

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """pixels (B, 3, 128, 128) in [-1, 1] to logits by attribute, each (B, values)."""
        features = self.mix(self.body(pixels).flatten(1))
        return {name: head(features) for name, head in self.heads.items()}


class Tagger(nn.Module):
    """A TagNet from pictures to tags."""

    def __init__(self, net: TagNet) -> None:
        super().__init__()
        self.net = net.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, 128, 128, 3), BGR, 0..255, to (B, tags) in 0..1."""
        pixels = pictures.permute(0, 3, 1, 2).flip(1) / 127.5 - 1
        shares = {name: logits.softmax(1) for name, logits in self.net(pixels).items()}
        return torch.stack(tag_shares(shares), dim=1)


def tag_shares(shares: Mapping[str, Tensor]) -> list[Tensor]:
    """How sure each of TAGS is, each (B,), from attributes' shares (B, values).

    A picture has one value an attribute, so only the likeliest counts; and it is said as surely as
    it can be seen at all (`scene.visible`).
    """
    best = {n: s * (s >= s.amax(1, keepdim=True)).to(s.dtype) for n, s in shares.items()}
    one = {n: dict(zip(READS[n], s.unbind(1), strict=True)) for n, s in best.items()}
    whole = {n: dict(zip(READS[n], s.unbind(1), strict=True)) for n, s in shares.items()}
    person = torch.stack([whole["subject"][name] for name in PEOPLE]).sum(0)
    near = person * torch.stack([whole["framing"][name] for name in NEAR]).sum(0)
    coloured = 1 - whole["style"][COLOURLESS_STYLE]
    seen = {
        "skin": person * coloured,
        "hair_colour": person * coloured,
        "expression": near,
        "mark": near * coloured,
        "gaze": near * (1 - whole["accessory"]["sunglasses"]),
        "gesture": person * (1 - whole["framing"]["close-up"]),
        "hair_style": person * (1 - whole["accessory"]["hat"]),
        "pattern": 1 - person,
    }
    everywhere = torch.ones_like(person)
    answers = []
    for tag in TAGS:
        match tag.group:
            case "person":
                answer = one["subject"][tag.values[0]]
            case "thing":
                colour, thing = tag.values
                answer = coloured * one["colour"][colour] * one["subject"][thing]
            case "bare thing":
                answer = (1 - coloured) * one["subject"][tag.values[0]]
            case "garment":
                colour, garment = tag.values
                worn = person * one["garment"][garment]
                answer = coloured * worn * one["garment_colour"][colour]
            case "bare garment":
                answer = (1 - coloured) * person * one["garment"][tag.values[0]]
            case "background" | "lighting" | "style":
                answer = one[tag.group][tag.values[0]] * everywhere
            case group:
                answer = one[group][tag.values[0]] * seen.get(group, person)
        answers.append(answer)
    return answers
