"""Loss with fixed noise at fixed timesteps, on pictures that are trained on and on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loraloom.config import ValidationConfig
from loraloom.families.base import Condition, Family
from loraloom.train import masking
from loraloom.train.batches import Example
from loraloom.train.cache import TensorCache
from loraloom.train.events import Validated
from loraloom.train.loss import squared_error
from loraloom.train.model import Model
from loraloom.train.objective import Objective
from loraloom.train.setup import Setup
from loraloom.train.streams import stream
from loraloom.train.texts import batch_condition

TOLERANCE = 0.01
"""Held-out losses this much above the lowest count as the same: a few pictures tell no more."""
OVERFITTING = 0.10
"""A held-out loss this much above the lowest one before it deserves a warning."""


@dataclass(frozen=True)
class Ruler:
    """Everything that a measurement needs; it never changes during a run."""

    config: ValidationConfig
    family: Family
    objective: Objective
    seed: int
    latent: Callable[[Example], Tensor]
    """Mean latent (C, …) of an example."""
    condition: Callable[[Example], Condition]
    mask: Callable[[Example], Tensor | None]
    """Weights (1, …, h, w) of an example's latent cells; None: all count alike."""
    dtype: torch.dtype
    """The denoiser's."""

    def measure(self, denoiser: Any, examples: Sequence[Example]) -> float | None:
        """Mean squared error over all examples, timesteps and draws; None without examples."""
        with torch.no_grad():
            errors = [self._errors(denoiser, example) for example in examples]
        return float(torch.cat(errors).double().mean()) if errors else None

    def _errors(self, denoiser: Any, example: Example) -> Tensor:
        """The error at each timestep and draw of one example (timesteps x draws,)."""
        times = [t for t in self.config.timesteps for _ in range(self.config.draws)]
        mean = self.latent(example)
        generator = stream(self.seed, "validation", example.key)
        noise = torch.randn(len(times), *mean.shape, generator=generator).to(mean.device)
        x0 = mean.expand_as(noise)
        t = self.objective.nearest(times)
        x_t = self.objective.add_noise(x0, noise, t).to(self.dtype)
        conditions = [self.condition(example)] * len(times)
        geometries = [example.geometry()] * len(times)
        predicted = self.family.predict(
            denoiser,
            x_t,
            t,
            batch_condition(self.family, conditions, geometries, x_t),
            timesteps=self.objective.length,
        )
        return squared_error(predicted, self.objective.target(x0, noise, t), self.mask(example))


def ruler(setup: Setup, live: Model, tensors: TensorCache) -> Ruler:
    """Measures the live model on unmirrored mean latents and whole captions."""

    def latent(example: Example) -> Tensor:
        return tensors[setup.latent_key(example, False)]["mean"].to(setup.device)

    def condition(example: Example) -> Condition:
        return live.texts([example.caption], trained=False)[0]

    def mask(example: Example) -> Tensor | None:
        found = masking.weights(setup, tensors, example, False, latent(example))
        return None if found is None else found.to(setup.device)

    return Ruler(
        setup.config.validation,
        setup.family,
        live.objective,
        setup.config.seed,
        latent,
        condition,
        mask,
        setup.dtype,
    )


def validated(step: int, train_loss: float, held_out_loss: float | None) -> Validated:
    """The event, with the gap between the two losses."""
    gap = None if held_out_loss is None else held_out_loss - train_loss
    return Validated(step, train_loss, held_out_loss, gap)


def best_step(held_out: Mapping[int, float], last: int) -> int:
    """The proposed step: the latest whose held-out loss is as good as the lowest.

    Latest, since a fresh likeness is still growing where the loss has become flat; held-out loss
    already contains the overfitting gap, so a step past the turn is never taken. Without
    held-out pictures it is the last step.
    """
    if not held_out:
        return last
    limit = min(held_out.values()) * (1 + TOLERANCE)
    return max(step for step, loss in held_out.items() if loss <= limit)


def overfits(held_out: Mapping[int, float]) -> bool:
    """Whether the latest held-out loss is well above the lowest."""
    return bool(held_out) and held_out[max(held_out)] > min(held_out.values()) * (1 + OVERFITTING)


def overfitting_advice(held_out: Mapping[int, float]) -> str:
    """What has happened, and what to do about it."""
    last, lowest = max(held_out), min(held_out, key=held_out.__getitem__)
    rise = held_out[last] / held_out[lowest] - 1
    return (
        f"Overfitting: at step {last} the held-out loss is {rise:.0%} above its lowest, at step "
        f"{lowest}. The best step is taken at the end all the same; another run does better with "
        "more pictures, fewer schedule.steps or a smaller adapter.rank."
    )
