"""Randomness as a function of what it is for, so that a resumed run draws the same numbers."""

from __future__ import annotations

import hashlib
from typing import TypeVar

import torch

T = TypeVar("T")


def stream(seed: int, *purpose: object) -> torch.Generator:
    """A CPU generator for one purpose, such as (seed, "noise", step, item)."""
    text = "\0".join([str(seed), *map(str, purpose)])
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def uniform(generator: torch.Generator) -> float:
    """One number in [0, 1)."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def shuffled(values: list[T], generator: torch.Generator) -> list[T]:
    """The values in random order."""
    return [values[i] for i in torch.randperm(len(values), generator=generator)]
