"""An average of the adapter over the steps (EMA), beside the weights that are trained.

Polyak & Juditsky 1992; Karras et al. 2024 (arXiv:2312.02696) on what it is worth in diffusion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """`decay` of what it was and the rest of what is, at each step; faster in the first steps."""

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        self._decay = decay
        self.weights = {name: weight.detach().clone() for name, weight in trained.items()}

    def update(self, trained: Mapping[str, nn.Parameter], step: int) -> None:
        """Take in the weights after `step`, from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, weight in trained.items():
            self.weights[name].lerp_(weight.detach(), 1 - decay)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `weights` were."""
        for name, weight in self.weights.items():
            weight.copy_(tensors[name])


@contextmanager
def standing_in(
    trained: Mapping[str, nn.Parameter], others: Mapping[str, Tensor]
) -> Iterator[None]:
    """Within, the trained weights have the others' values; afterwards their own, to the bit."""
    own = {name: weight.detach().clone() for name, weight in trained.items()}
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(others[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in trained.items():
                weight.copy_(own[name])
