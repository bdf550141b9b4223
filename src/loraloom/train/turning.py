"""OFT's turns in float32, where autocast would round them to bfloat16.

A turn by a small angle is a matrix close to the identity: rounded to eight bits it is another one,
and what it turns comes out as if it had hardly been turned.
"""

from __future__ import annotations

import torch
from peft.tuners.oft.layer import OFTRotationModule
from torch import Tensor, nn


class ExactRotation(OFTRotationModule):
    """peft's: x (…, n) -> x R (…, n), in the dtype of x."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):  # x may be on "meta"
            turned: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return turned


def turn_exactly(model: nn.Module) -> None:
    """Let all turns in a model be exact; others are left as they are."""
    for module in model.modules():
        if type(module) is OFTRotationModule:
            module.__class__ = ExactRotation
