"""The turns of OFT and BOFT, block by block and in float32.

A turn by a small angle is a matrix close to the identity: rounded to bfloat16's eight bits it is
another one, and what it turns comes out as if it had hardly been turned. And a layer of n inputs in
blocks of b is turned with n * b multiplications a row; peft's BOFT makes a matrix of n * n of the
blocks first, and multiplies it with two more that change nothing where there is one factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.boft.layer import BOFTLayer, Conv2d, Linear
from peft.tuners.oft.layer import OFTRotationModule
from torch import Tensor, nn


class ExactRotation(OFTRotationModule):
    """peft's: x (…, n) -> x R (…, n), in the dtype of x."""

    def forward(self, x: Tensor) -> Tensor:
        with _exactly(x):
            turned: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return turned


class BlockwiseLinear(Linear):
    """x (…, in) -> (…, out): its inputs are turned, its outputs scaled, its bias is not."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.disable_adapters or self.merged:
            plain: Tensor = super().forward(x, *args, **kwargs)
            return plain
        base: Any = self.get_base_layer()
        turned, scale = x, torch.ones((), device=x.device)
        with _exactly(x):
            for turn, own in reversed([*_turns(self)]):  # what turns the weights last
                rows = turned.float().unflatten(-1, turn.shape[:2])
                turned = torch.einsum("...rk,rkc->...rc", rows, turn).flatten(-2)
                scale = scale * own
        out: Tensor = base(turned.to(x.dtype), *args, **kwargs)
        scaled = out * scale
        if base.bias is not None:
            scaled = scaled + base.bias * (1 - scale)
        return scaled.to(x.dtype)

    def get_delta_weight(self, adapter: str) -> tuple[Tensor, Tensor]:
        """As `_whole`."""
        return _whole(self, adapter)


class BlockwiseConv2d(Conv2d):
    """x (B, in, H, W): the weights are turned, which are fewer than what they meet."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.disable_adapters or self.merged:
            plain: Tensor = super().forward(x, *args, **kwargs)
            return plain
        base: Any = self.get_base_layer()
        with _exactly(x):
            weight = base.weight.float().flatten(1)
            for turn, scale in _turns(self):
                rows = weight.unflatten(1, turn.shape[:2])
                weight = torch.einsum("rij,orj->ori", turn, rows).flatten(1) * scale[:, None]
        weight = weight.view(base.weight.shape).to(base.weight.dtype)
        out = F.conv2d(
            x.to(weight.dtype), weight, base.bias, base.stride, base.padding, base.dilation
        )
        return out.to(x.dtype)

    def get_delta_weight(self, adapter: str) -> tuple[Tensor, Tensor]:
        """As `_whole`."""
        return _whole(self, adapter)


@contextmanager
def without_matrices() -> Iterator[None]:
    """Within, peft's BOFT drops each layer's matrix as soon as it is made: as many numbers as its
    inputs squared, of the identity, which together would be 26 GiB for all of SD 1.5's layers."""
    kind: Any = BOFTLayer
    reset = kind.reset_boft_parameters  # called right after

    def drop_and_reset(layer: Any, *given: Any) -> None:
        layer.boft_P = torch.empty(0)
        reset(layer, *given)

    kind.reset_boft_parameters = drop_and_reset
    try:
        yield
    finally:
        kind.reset_boft_parameters = reset


def turn_exactly(model: nn.Module) -> None:
    """Let all turns in a model be such; other layers are left as they are."""
    ours: dict[type, type] = {
        OFTRotationModule: ExactRotation,
        Linear: BlockwiseLinear,
        Conv2d: BlockwiseConv2d,
    }
    for module in model.modules():
        module.__class__ = ours.get(type(module), type(module))
        if isinstance(module, BOFTLayer):
            module.boft_P = torch.empty(0)


def _turns(layer: BOFTLayer) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each adapter at work: blocks (N, b, b), and scales (out).

    Of one butterfly factor, as all of ours have.
    """
    for name in layer.active_adapters:
        if name in layer.boft_R:
            turn = layer.cayley_batch(layer.boft_R[name][0].float())  # type: ignore[no-untyped-call]
            yield turn, layer.boft_s[name].flatten()


def _whole(layer: BOFTLayer, adapter: str) -> tuple[Tensor, Tensor]:
    """For merging, as peft has it: the whole matrix (in, in), and scales (out, 1)."""
    turn = layer.cayley_batch(layer.boft_R[adapter][0].float())  # type: ignore[no-untyped-call]
    return torch.block_diag(*turn), layer.boft_s[adapter].reshape(-1, 1)


@contextmanager
def _exactly(x: Tensor) -> Iterator[None]:
    with torch.autocast("cuda" if x.is_cuda else "cpu", enabled=False):  # x may be on "meta"
        yield
