"""AdamW for the adapter's weights, and the learning rate along the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.optim import AdamW

from loraloom.config import OptimiserConfig, ScheduleConfig


def build(groups: Sequence[tuple[Sequence[nn.Parameter], float]], config: OptimiserConfig) -> AdamW:
    """One group for each (weights, peak learning rate).

    The fused kernel: on hundreds of small tensors foreach is slower than a plain loop.
    """
    return AdamW(
        [{"params": list(weights), "lr": rate, "peak": rate} for weights, rate in groups],
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def set_learning_rate(optimiser: AdamW, schedule: ScheduleConfig, step: int) -> float:
    """Give each group its rate for this step (from 1) and return the first group's."""
    factor = learning_rate_factor(schedule, step)
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    return float(optimiser.param_groups[0]["lr"])


def learning_rate_factor(schedule: ScheduleConfig, step: int) -> float:
    """Share of the peak rate in step 1..steps: a linear rise, then the schedule's course to 0."""
    if step <= schedule.warmup_steps:
        return step / schedule.warmup_steps
    if schedule.name == "constant":
        return 1.0
    done = (step - 1 - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return 1 - done if schedule.name == "linear" else (1 + math.cos(math.pi * done)) / 2


def state_tensors(optimiser: AdamW) -> dict[str, Tensor]:
    """The moments and counts, as `<number of the weight>.<name>`."""
    state = optimiser.state_dict()["state"]
    return {f"{i}.{name}": t for i, values in state.items() for name, t in values.items()}


def restore(optimiser: AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Set the state to what `state_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
