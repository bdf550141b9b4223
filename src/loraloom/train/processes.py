"""Several processes that train one adapter, each on its share of every batch.

`torchrun` starts them and tells each its number. The base stands in each of them; only the
gradients of the adapter, which is small, are averaged, so that all take the same steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from loraloom.train.stop import Asked

_PATIENCE = timedelta(days=1)
"""How long the others wait while the first encodes pictures or measures."""


@dataclass(frozen=True)
class Processes:
    """Which of how many this process is."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files and tells what happens."""
        return self.number == 0

    def share(self, length: int) -> slice:
        """The places of a batch of `length`, a multiple of the count, that are its own."""
        size = length // self.count
        return slice(self.number * size, (self.number + 1) * size)

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Within, the first is done before the others begin: they find what it has made."""
        if self.count > 1 and not self.first:
            dist.barrier()
        yield
        if self.count > 1 and self.first:
            dist.barrier()

    def average_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Give each weight the mean of all processes' gradients."""
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, loss: float, asked: Asked, device: str) -> tuple[float, Asked]:
        """The mean of all losses, and what any process was asked for."""
        if self.count == 1:
            return loss, asked
        values = torch.tensor([loss, *asked], dtype=torch.float64, device=device)
        dist.all_reduce(values)
        return float(values[0]) / self.count, Asked(*(bool(value > 0) for value in values[1:]))


def is_first() -> bool:
    """Whether this process is the one that writes and tells, by what `torchrun` says."""
    return os.environ.get("RANK", "0") == "0"


def join(device: str) -> Processes:
    """Meet the others, if `torchrun` started some; each takes the GPU of its number."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    return Processes(dist.get_rank(), dist.get_world_size())


def leave(processes: Processes) -> None:
    """Part from the others."""
    if processes.count > 1:
        dist.destroy_process_group()
