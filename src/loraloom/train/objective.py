"""What is predicted, at which times, and how much each weighs: two objectives behind one interface.

Times t (B,) run from 0, clean, to 1, noise, and stand on the schedule that the base knows.
`Diffusion`: a discrete schedule. Ho et al. 2020 (arXiv:2006.11239), Salimans & Ho 2022
(v-prediction, arXiv:2202.00512), Hang et al. 2023 (min-SNR, arXiv:2303.09556), Yu et al. 2023
(debiased, arXiv:2310.08442).
`Flow`: straight paths. Lipman et al. 2022 (arXiv:2210.02747), Esser et al. 2024 (how times are
drawn, arXiv:2403.03206).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from loraloom.config import ObjectiveConfig
from loraloom.errors import BaseUnknown, ConfigInvalid


@dataclass(frozen=True)
class Diffusion:
    """`alphas_cumprod` (T,), from nearly 1 at index 0 down to nearly 0, on the device."""

    alphas_cumprod: Tensor
    prediction_type: str
    min_snr_gamma: float = 0.0
    noise_offset: float = 0.0
    debiased: bool = False

    @property
    def length(self) -> int:
        """The number of timesteps T; t = index / (T - 1)."""
        return len(self.alphas_cumprod)

    def draw(self, start: float, count: int, tokens: int) -> Tensor:
        """`count` times (count,): each uniform for a uniform `start` in [0, 1)."""
        index = (_spread(start, count) * self.length).long().clamp(max=self.length - 1)
        return self._t(index)

    def nearest(self, times: Sequence[float]) -> Tensor:
        """The times of the schedule that are nearest to the given ones."""
        return self._t(torch.tensor([round(t * (self.length - 1)) for t in times]))

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(abar) x0 + sqrt(1 - abar) noise; of any shape (B, …)."""
        abar = _over(self._abar(t), x0)
        return abar.sqrt() * x0 + (1 - abar).sqrt() * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the denoiser should predict: noise, or v = sqrt(abar) noise - sqrt(1 - abar) x0."""
        if self.prediction_type == "epsilon":
            return noise
        abar = _over(self._abar(t), x0)
        return abar.sqrt() * noise - (1 - abar).sqrt() * x0

    def weight(self, t: Tensor) -> Tensor:
        """Weight (B,) of each time's loss: debiased, min-SNR, or 1 everywhere for gamma 0.

        What is defined for epsilon is multiplied by snr / (snr + 1) for v, whose squared error is
        so much larger.
        """
        abar = self._abar(t)
        snr = abar / (1 - abar)
        if self.debiased:
            if self.prediction_type == "epsilon":
                return torch.where(snr > 0, snr.rsqrt(), 1.0)
            return snr.sqrt() / (snr + 1)
        if self.min_snr_gamma == 0:
            return torch.ones_like(t)
        if self.prediction_type == "epsilon":
            return (snr.clamp(max=self.min_snr_gamma) / snr).nan_to_num(1)  # where snr is 0
        return snr.clamp(max=self.min_snr_gamma) / (snr + 1)

    def noise_ratio(self, t: Tensor) -> Tensor:
        """Noise over signal (B,): 1 / sqrt(SNR)."""
        abar = self._abar(t)
        return ((1 - abar) / abar).sqrt()

    def _abar(self, t: Tensor) -> Tensor:
        return self.alphas_cumprod[(t * (self.length - 1)).round().long()]

    def _t(self, index: Tensor) -> Tensor:
        return (index.float() / (self.length - 1)).to(self.alphas_cumprod.device)


@dataclass(frozen=True)
class Shift:
    """How the odds of noise, t / (1 - t), grow with the number of tokens of a picture.

    By exp(mu), or by mu itself where not `exponential`; mu is on the line through
    (tokens[0], mus[0]) and (tokens[1], mus[1]). A constant factor has equal mus.
    """

    mus: tuple[float, float]
    tokens: tuple[int, int] = (0, 1)
    exponential: bool = False

    def factor(self, tokens: int) -> float:
        """What the odds are multiplied by."""
        slope = (self.mus[1] - self.mus[0]) / (self.tokens[1] - self.tokens[0])
        mu = self.mus[0] + slope * (tokens - self.tokens[0])
        return math.exp(mu) if self.exponential else mu


@dataclass(frozen=True)
class Flow:
    """x_t = (1 - t) x0 + t noise, and the denoiser predicts noise - x0."""

    times: str
    """ "uniform" or "logit_normal"."""
    mean: float
    std: float
    shift: Shift
    device: str = "cpu"
    within: tuple[float, float] = (0.0, 1.0)
    """The times that the denoiser is used for: no others are drawn."""

    prediction_type = "flow"
    noise_offset = 0.0
    length = 1000

    def draw(self, start: float, count: int, tokens: int) -> Tensor:
        """`count` times (count,) of the chosen distribution for a uniform `start` in [0, 1)."""
        factor = self.shift.factor(tokens)
        low, high = (self._share_before(time, factor) for time in self.within)
        t = low + (high - low) * _spread(start, count)
        if self.times == "logit_normal":
            t = torch.sigmoid(self.mean + self.std * torch.special.ndtri(t.clamp(1e-7, 1 - 1e-7)))
        return (factor * t / (1 + (factor - 1) * t)).float().to(self.device)

    def nearest(self, times: Sequence[float]) -> Tensor:
        """The times themselves, as fractions of the way through those that are used."""
        low, high = self.within
        return torch.tensor([low + (high - low) * t for t in times], device=self.device)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t, of any shape (B, …)."""
        t = _over(t, x0)
        return (1 - t) * x0 + t * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """noise - x0."""
        return noise - x0

    def noise_ratio(self, t: Tensor) -> Tensor:
        """Noise over signal (B,)."""
        return t / (1 - t)

    def weight(self, t: Tensor) -> Tensor:
        """1 everywhere: how often a time is drawn is its weight."""
        return torch.ones_like(t)

    def _share_before(self, t: float, factor: float) -> float:
        """The share of all times that would be drawn before t."""
        if t in (0.0, 1.0):
            return t
        t = t / (factor - (factor - 1) * t)
        if self.times == "uniform":
            return t
        normal = torch.tensor((math.log(t / (1 - t)) - self.mean) / self.std, dtype=torch.float64)
        return float(torch.special.ndtr(normal))


Objective = Diffusion | Flow


def objective_of(
    scheduler: Any,
    config: ObjectiveConfig,
    device: str = "cpu",
    within: tuple[float, float] = (0.0, 1.0),
) -> Objective:
    """The objective that a base was saved with. Raises BaseUnknown where it cannot be trained.

    `within`: the times that the denoiser is used for, of a base of flow matching.
    """
    # Solvers for both kinds, such as UniPC, tell which by what the base predicts.
    flows = scheduler.config.get("prediction_type") == "flow_prediction"
    if hasattr(scheduler, "alphas_cumprod") and not flows:
        return _diffusion(scheduler, config, device)
    if not flows and "FlowMatch" not in type(scheduler).__name__:
        raise BaseUnknown(
            f"The base's scheduler is a {type(scheduler).__name__}; only discrete diffusion and "
            "flow matching can be trained."
        )
    assert config.times is not None and config.shift is not None, "see train/fit.py"
    shift = _shift(scheduler.config, config.shift)
    mean, std = config.logit_mean or 0.0, config.logit_std or 1.0
    return Flow(config.times, mean, std, shift, device, within)


def offset_noise(noise: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Noise (C, …) with one random shift a channel, so that dark and bright can be learnt."""
    if strength == 0:
        return noise
    shape = (len(noise), *[1] * (noise.ndim - 1))
    return noise + strength * torch.randn(shape, generator=generator)


def zero_terminal_snr(scheduler: Any) -> Any:
    """A scheduler of the same settings whose last timestep is pure noise, for training and for
    drawing alike. Lin et al. 2023 (arXiv:2305.08891), algorithm 1. Raises ConfigInvalid."""
    from diffusers import DDIMScheduler

    found = scheduler.config
    if found.get("prediction_type") != "v_prediction":
        raise ConfigInvalid(
            "objective.zero_terminal_snr = true is not possible: this base predicts "
            f"{found.get('prediction_type', 'flow')}, from which nothing can be learnt at pure "
            "noise. It is for bases of v_prediction; leave it out."
        )
    if found.get("rescale_betas_zero_snr"):
        raise ConfigInvalid(
            "objective.zero_terminal_snr = true has no effect: this base is made so already; leave "
            "it out."
        )
    return DDIMScheduler.from_config(
        found, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )


def _diffusion(scheduler: Any, config: ObjectiveConfig, device: str) -> Diffusion:
    prediction = scheduler.config.prediction_type
    if prediction not in ("epsilon", "v_prediction"):
        raise BaseUnknown(
            f"The base predicts {prediction!r}; only epsilon and v_prediction can be trained."
        )
    assert config.noise_offset is not None, "see train/fit.py"
    abar = scheduler.alphas_cumprod.float().to(device)
    return Diffusion(
        abar, prediction, config.min_snr_gamma or 0.0, config.noise_offset, bool(config.debiased)
    )


def _shift(scheduler: Any, shift: float | Literal["resolution"]) -> Shift:
    """`scheduler`: the config of diffusers' FlowMatchEulerDiscreteScheduler."""
    if shift != "resolution":
        return Shift((shift, shift))
    if not scheduler.get("use_dynamic_shifting"):
        raise ConfigInvalid(
            'objective.shift = "resolution" is not possible: the scheduler of this base does not '
            "say how its shift grows with the resolution. Give a number; 1 is no shift."
        )
    return Shift(
        (scheduler["base_shift"], scheduler["max_shift"]),
        (scheduler["base_image_seq_len"], scheduler["max_image_seq_len"]),
        exponential=scheduler.get("time_shift_type", "exponential") == "exponential",
    )


def _spread(start: float, count: int) -> Tensor:
    """`count` numbers in [0, 1) (count,), float64: each uniform for a uniform `start`.

    They are spread evenly around it, which steadies the loss of a batch (Kingma et al. 2021,
    arXiv:2107.00630, appendix I).
    """
    return (start + torch.arange(count, dtype=torch.float64) / count) % 1


def _over(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, …), to be multiplied with `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))
