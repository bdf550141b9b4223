"""From what was predicted to one number a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from loraloom.config import ObjectiveConfig


def of_pictures(
    config: ObjectiveConfig,
    predicted: Tensor,
    wanted: Tensor,
    noise_ratio: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """The loss of each picture (B,), in float32.

    `predicted`, `wanted`: (B, C, …); `noise_ratio`: noise over signal (B,); `mask`: see `mean`.
    """
    difference = predicted.float() - wanted.float()
    if config.loss != "huber":
        return mean(difference.square(), mask)
    assert config.huber_c is not None, "see train/fit.py"
    c = torch.full_like(noise_ratio, config.huber_c)
    if config.huber_schedule == "snr":
        c = config.huber_c + (1 - config.huber_c) / (1 + noise_ratio).square()
    return mean(pseudo_huber(difference, c.view(-1, *[1] * (difference.ndim - 1))), mask)


def pseudo_huber(difference: Tensor, c: Tensor) -> Tensor:
    """2 c (sqrt(d^2 + c^2) - c): d^2 where d is small against c, 2 c |d| where it is large.

    Khrapov et al. 2024 (arXiv:2403.16728), section 3, scaled to meet the square.
    """
    return 2 * c * ((difference.square() + c.square()).sqrt() - c)


def squared_error(predicted: Tensor, wanted: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of each picture (B,), in float32."""
    return mean((predicted.float() - wanted.float()).square(), mask)


def mean(errors: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over each picture (B, C, …) -> (B,), weighed by `mask` (B, 1, …, h, w) in [0, 1].

    A picture with a small mask counts as much as one without; where all is 0 it does not count.
    """
    if mask is None:
        return errors.flatten(1).mean(1)
    weights = mask.expand_as(errors).flatten(1)
    return (errors.flatten(1) * weights).sum(1) / weights.sum(1).clamp(min=1e-6)
