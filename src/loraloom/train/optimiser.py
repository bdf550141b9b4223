"""Optimisers of the adapter's weights: how each is made, saved, and asked for its averages.

AdamW is torch's; its 8-bit form is bitsandbytes'; the others are pytorch-optimizer's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from loraloom.config import OptimiserConfig
from loraloom.errors import ConfigInvalid

Groups = Sequence[tuple[Sequence[nn.Parameter], float]]

_NUMBER = "number:"


def build(groups: Groups, config: OptimiserConfig) -> Optimizer:
    """One group for each (weights, peak learning rate). Raises ConfigInvalid; see `check`."""
    check(config)
    table = [{"params": list(weights), "lr": rate, "peak": rate} for weights, rate in groups]
    decay = config.weight_decay
    if config.name == "adamw":
        # On hundreds of small tensors foreach is slower than a plain loop, and fused is fastest.
        return AdamW(table, betas=_two(config), weight_decay=decay, fused=True)
    if config.name == "adamw8bit":
        import bitsandbytes

        eight: Optimizer = bitsandbytes.optim.AdamW8bit(
            table, betas=_two(config), weight_decay=decay
        )
        return eight
    return _from_library(table, config)


def check(config: OptimiserConfig) -> None:
    """Raise ConfigInvalid where the library of the optimiser is not installed."""
    if config.name == "adamw8bit" and find_spec("bitsandbytes") is None:
        raise ConfigInvalid(
            'optimiser.name = "adamw8bit" needs the package bitsandbytes, which is not installed: '
            'pip install "loraloom[quantised]", or take adamw, or adafactor, which needs little '
            "memory too."
        )


def _from_library(table: list[dict[str, Any]], config: OptimiserConfig) -> Optimizer:
    import pytorch_optimizer as library

    # Batches of small tensors pay off on a GPU only.
    foreach = None if table[0]["params"][0].is_cuda else False
    decay, betas = config.weight_decay, config.betas
    match config.name:
        case "adafactor":
            # The rate is ours: scaled by a weight's size, lora_B would start from next to none.
            return library.AdaFactor(
                table, betas=(None, 0.999), weight_decay=decay, scale_parameter=False,
                relative_step=False, foreach=foreach,
            )  # fmt: skip
        case "prodigy":
            return library.Prodigy(
                table, betas=_two(config), weight_decay=decay, bias_correction=True,
                safeguard_warmup=True, foreach=foreach,
            )  # fmt: skip
        case "lion":
            return library.Lion(table, betas=_two(config), weight_decay=decay, foreach=foreach)
        case "came":
            assert betas is not None and len(betas) == 3, "see train/fit.py"
            three = (betas[0], betas[1], betas[2])
            return library.CAME(table, betas=three, weight_decay=decay, foreach=foreach)
        case _:
            return library.ScheduleFreeAdamW(
                table, betas=_two(config), weight_decay=decay, foreach=foreach
            )


def state_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    """All that a step changes beside the weights, numbers as tensors of no dimension.

    `<number of the weight>.<name>`, and `group<number>.<name>` for what its groups keep, such as
    Prodigy's estimate.
    """
    found: dict[str, Tensor] = {}
    for number, weight in enumerate(_weights(optimiser)):
        for name, value in optimiser.state.get(weight, {}).items():
            found |= _named(f"{number}.", name, value)
    for number, group in enumerate(optimiser.param_groups):
        for name, value in group.items():
            if name not in ("params", "lr", "peak"):
                found |= _named(f"group{number}.", name, value)
    # A file cannot hold one tensor under two names, as weights share a table of codes.
    seen: set[int] = set()
    for key, tensor in found.items():
        if tensor.data_ptr() in seen:
            found[key] = tensor.clone()
        seen.add(tensor.data_ptr())
    return found


def restore(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set the state to what `state_tensors` gave: bit for bit, whatever the optimiser's types."""
    weights = _weights(optimiser)
    for key, tensor in tensors.items():
        owner, _, name = key.partition(".")
        if owner.startswith("group"):
            place: dict[str, Any] = optimiser.param_groups[int(owner.removeprefix("group"))]
            device = optimiser.param_groups[0]["params"][0].device
        else:
            weight = weights[int(owner)]
            place, device = optimiser.state[weight], weight.device
        if name.startswith(_NUMBER):
            place[name.removeprefix(_NUMBER)] = tensor.item()
        else:
            place[name] = tensor.clone().to(device)


@contextmanager
def averaged(optimiser: Optimizer) -> Iterator[bool]:
    """Within, the weights are those to be measured and saved: of a schedule-free optimiser its
    averages, of another one what they are. Afterwards they are as before, to the bit.

    Gives whether they are others.
    """
    switch = getattr(optimiser, "eval", None)
    if switch is None:
        yield False
        return
    weights = _weights(optimiser)
    before = [weight.detach().clone() for weight in weights]
    switch()
    try:
        yield True
    finally:
        for group in optimiser.param_groups:
            group["train_mode"] = True  # what its train() would compute anew, with rounding
        with torch.no_grad():
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)


def _two(config: OptimiserConfig) -> tuple[float, float]:
    assert config.betas is not None and len(config.betas) == 2, "see train/fit.py"
    return config.betas[0], config.betas[1]


def _weights(optimiser: Optimizer) -> list[nn.Parameter]:
    return [weight for group in optimiser.param_groups for weight in group["params"]]


def _named(owner: str, name: str, value: object) -> dict[str, Tensor]:
    if isinstance(value, Tensor):
        return {f"{owner}{name}": value}
    dtype = {bool: torch.bool, int: torch.int64, float: torch.float64}.get(type(value))
    if dtype is not None:
        return {f"{owner}{_NUMBER}{name}": torch.tensor(value, dtype=dtype)}
    return {}  # tuples of settings and None: nothing that a step changes
