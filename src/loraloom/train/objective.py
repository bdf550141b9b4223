"""Diffusion with a discrete schedule: what is predicted, and how much each timestep weighs.

Ho et al. 2020 (arXiv:2006.11239), Salimans & Ho 2022 (v-prediction, arXiv:2202.00512),
Hang et al. 2023 (min-SNR, arXiv:2303.09556).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loraloom.errors import BaseUnknown


@dataclass(frozen=True)
class DiscreteSchedule:
    """`alphas_cumprod` (T,), from nearly 1 at index 0 down to nearly 0, on the device."""

    alphas_cumprod: Tensor
    prediction_type: str

    @property
    def length(self) -> int:
        """The number of timesteps T."""
        return len(self.alphas_cumprod)


def schedule_of(scheduler: Any, device: str = "cpu") -> DiscreteSchedule:
    """The schedule that a base was saved with. Raises BaseUnknown for other prediction types."""
    prediction = scheduler.config.prediction_type
    if prediction not in ("epsilon", "v_prediction"):
        raise BaseUnknown(
            f"The base predicts {prediction!r}; only epsilon and v_prediction can be trained."
        )
    return DiscreteSchedule(scheduler.alphas_cumprod.float().to(device), prediction)


def timestep_indices(start: float, count: int, length: int) -> Tensor:
    """`count` indices (count,): each uniform over the schedule for a uniform `start` in [0, 1).

    They are spread evenly around the schedule, which steadies the loss of a batch (Kingma et al.
    2021, arXiv:2107.00630, appendix I).
    """
    places = (start + torch.arange(count, dtype=torch.float64) / count) % 1
    return (places * length).long().clamp(max=length - 1)


def canonical_t(schedule: DiscreteSchedule, index: Tensor) -> Tensor:
    """Index (B,) -> t (B,) in [0, 1], as `Family.predict` takes it."""
    return index.float() / (schedule.length - 1)


def add_noise(schedule: DiscreteSchedule, x0: Tensor, noise: Tensor, index: Tensor) -> Tensor:
    """x_t = sqrt(abar) x0 + sqrt(1 - abar) noise; all (B, C, h, w), index (B,)."""
    abar = schedule.alphas_cumprod[index].view(-1, 1, 1, 1)
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def target(schedule: DiscreteSchedule, x0: Tensor, noise: Tensor, index: Tensor) -> Tensor:
    """What the denoiser should predict: the noise, or v = sqrt(abar) noise - sqrt(1 - abar) x0."""
    if schedule.prediction_type == "epsilon":
        return noise
    abar = schedule.alphas_cumprod[index].view(-1, 1, 1, 1)
    return abar.sqrt() * noise - (1 - abar).sqrt() * x0


def min_snr_weight(schedule: DiscreteSchedule, index: Tensor, gamma: float) -> Tensor:
    """Weight (B,) of each timestep's loss; 1 everywhere for gamma 0."""
    if gamma == 0:
        return torch.ones_like(index, dtype=torch.float32)
    abar = schedule.alphas_cumprod[index]
    snr = abar / (1 - abar)
    divisor = snr if schedule.prediction_type == "epsilon" else snr + 1
    return snr.clamp(max=gamma) / divisor


def offset_noise(noise: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Noise (C, h, w) with one random shift a channel, so that dark and bright can be learnt."""
    if strength == 0:
        return noise
    return noise + strength * torch.randn(len(noise), 1, 1, generator=generator)


def squared_error(prediction: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of each picture (B,), in float32."""
    return (prediction.float() - wanted.float()).square().flatten(1).mean(1)
