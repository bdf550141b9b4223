"""Muon (Jordan et al. 2024) for the matrices inside a network.

The momentum of a weight is brought near the closest semi-orthogonal matrix, so that no direction
of it learns slower than the others. torch.optim.Muon takes no convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

MOMENTUM, WEIGHT_DECAY = 0.95, 0.01
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 4
ADAM_LIKE = 0.2
"""Gives an update the root mean square of AdamW's (Liu et al. 2025, arXiv:2502.16982), so that
one learning rate serves both."""


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised; a convolution is a matrix with a row an output channel."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                update = orthogonal(weight.grad.lerp(momentum, MOMENTUM).flatten(1))
                size = ADAM_LIKE * max(update.shape) ** 0.5
                weight.mul_(1 - group["lr"] * WEIGHT_DECAY)
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the closest semi-orthogonal matrix (singular values of about 0.7 to 1.2), by
    Newton-Schulz iterations in bfloat16; the matrix is (m, n)."""
    a, b, c = QUINTIC
    x = matrix.bfloat16()
    if len(x) > x.shape[1]:
        return orthogonal(matrix.T).T
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.float()


def muon_and_adamw(
    network: nn.Module, lr: float, ends: tuple[str, ...] = (), weight_decay: float = 1e-3
) -> list[Optimizer]:
    """Muon for what lies inside; AdamW for vectors, embeddings, and the layers whose names
    begin with one of `ends`."""
    inside: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            continue
        outer = weight.ndim < 2 or "embeddings." in name or name.startswith(ends)
        (rest if outer else inside).append(weight)
    return [
        Muon(inside, lr),
        AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True),
    ]
