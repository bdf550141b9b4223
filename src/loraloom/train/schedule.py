"""The learning rate along the steps."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from loraloom.config import ScheduleConfig


def set_learning_rate(optimiser: Optimizer, schedule: ScheduleConfig, step: int) -> float:
    """Give each group its rate for this step (from 1); returns the first group's.

    With what Prodigy multiplies it by, where it is Prodigy.
    """
    factor = learning_rate_factor(schedule, step)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    first = optimiser.param_groups[0]
    return float(first["lr"] * first.get("d", 1.0))


def learning_rate_factor(schedule: ScheduleConfig, step: int) -> float:
    """Share of the peak rate in step 1..steps: a linear rise, then the schedule's course to 0."""
    if step <= schedule.warmup_steps:
        return step / schedule.warmup_steps
    done = (step - 1 - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    match schedule.name:
        case "constant":
            return 1.0
        case "linear":
            return 1 - done
        case "polynomial":
            assert schedule.power is not None, "see train/fit.py"
            return float((1 - done) ** schedule.power)
        case "cosine_restarts":  # Loshchilov & Hutter 2017, arXiv:1608.03983, cycles of one length
            assert schedule.cycles is not None, "see train/fit.py"
            return (1 + math.cos(math.pi * (done * schedule.cycles % 1))) / 2
        case _:
            return (1 + math.cos(math.pi * done)) / 2
