"""The nearest LoRA to a change of a weight, by singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloom.adapters.weights import LoraWeights

_WHOLE = 1024
"""Up to this width the whole decomposition is made; beyond it, only its strongest part."""
_EXTRA, _ITERATIONS = 16, 8  # of the randomised decomposition, Halko et al. 2011


@dataclass(frozen=True)
class Kept:
    """Squares of a change's singular values: those that were kept, and all of them."""

    kept: float
    whole: float

    @property
    def share(self) -> float:
        return self.kept / self.whole if self.whole else 1.0


def nearest(change: Tensor, rank: int) -> tuple[LoraWeights, Kept]:
    """The LoRA of a rank, with alpha = rank, that is nearest to `change` (out, in, …); float32."""
    flat = change.float().flatten(1)
    rank = min(rank, *flat.shape)
    u, s, v = _decompose(flat, rank)
    lora = _halves(u[:, :rank], s[:rank], v[:, :rank].T, tuple(change.shape))
    return lora, Kept(float(s[:rank].square().sum()), float(flat.square().sum()))


def reduced(lora: LoraWeights, rank: int) -> tuple[LoraWeights, Kept]:
    """The LoRA of a rank nearest to `lora`, which is not multiplied out for that."""
    q_up, r_up = torch.linalg.qr(lora.up.float().flatten(1) * (lora.alpha / lora.rank))
    q_down, r_down = torch.linalg.qr(lora.down.float().flatten(1).T)
    u, s, vh = torch.linalg.svd(r_up @ r_down.T)
    u, vh = q_up @ u[:, : len(s)], vh[: len(s)] @ q_down.T
    rank = min(rank, len(s))
    kept = Kept(float(s[:rank].square().sum()), float(s.square().sum()))
    return _halves(u[:, :rank], s[:rank], vh[:rank], lora.size), kept


def _decompose(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    if min(matrix.shape) <= _WHOLE:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u, s, vh.T
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        u, s, v = torch.svd_lowrank(matrix, min(rank + _EXTRA, *matrix.shape), _ITERATIONS)
    return u, s, v


def _halves(u: Tensor, s: Tensor, vh: Tensor, shape: tuple[int, ...]) -> LoraWeights:
    rank = len(s)
    root = s.sqrt()
    ones = [1] * (len(shape) - 2)
    down = (root[:, None] * vh).reshape(rank, *shape[1:])
    return LoraWeights(down, (u * root).reshape(shape[0], rank, *ones), float(rank))


def total(kept: list[Kept]) -> float:
    """The share that was kept of several changes together."""
    whole = math.fsum(one.whole for one in kept)
    return math.fsum(one.kept for one in kept) / whole if whole else 1.0
