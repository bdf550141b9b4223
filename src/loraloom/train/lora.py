"""Low-rank adapters inside a frozen model, through peft."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from loraloom.config import AdapterConfig
from loraloom.errors import NothingToTrain


def inject(
    model: nn.Module, config: AdapterConfig, targets: Iterable[str], generator: torch.Generator
) -> dict[str, nn.Parameter]:
    """Add an adapter of zero effect to each module whose path ends in a target; see `pattern`.

    Returns the trained weights by name, float32 whatever the model's dtype; all else is frozen.
    Raises NothingToTrain where no module fits.
    """
    endings = list(targets)
    model.requires_grad_(False)
    lora = LoraConfig(
        r=config.rank,
        # peft multiplies by alpha / r with whatever number alpha is, though it declares int.
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=pattern(endings),
    )
    try:
        with torch.random.fork_rng(devices=[]):
            inject_adapter_in_model(lora, model)
    except ValueError as error:
        raise NothingToTrain(
            f"No module of the base ends in any of {', '.join(endings)}: change adapter.targets. "
            f"({error})"
        ) from error
    trained = {name: p for name, p in model.named_parameters() if ".lora_" in name}
    for name, parameter in trained.items():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
        if ".lora_A." in name:
            start = torch.empty(parameter.shape)  # on the CPU, where the generator is
            nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(start)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            # Autocast casts where it must; peft's own cast would go through float32 and back.
            module.cast_input_dtype_enabled = False
    # peft's new layers start in training mode, where their dropout draws from the global stream.
    model.eval()
    return trained


def pattern(endings: Iterable[str]) -> str:
    """A regular expression for module paths that end in any of these; "*" is any one name."""
    choices = (re.escape(ending).replace(r"\*", r"[^.]+") for ending in endings)
    return rf"(?:.*\.)?(?:{'|'.join(choices)})"


def copy_into(trained: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]) -> None:
    """Set the trained weights to saved ones of the same names and shapes."""
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(saved[name])


@contextmanager
def dropout(
    models: Iterable[nn.Module], probability: float, generator: torch.Generator
) -> Iterator[None]:
    """Within, the adapters drop inputs; torch's dropout knows only the global stream, so that one
    is set aside meanwhile."""
    if probability == 0:
        yield
        return
    modules = (module for model in models for module in model.modules())
    layers = [module.lora_dropout for module in modules if isinstance(module, LoraLayer)]
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        try:
            for layer in layers:
                layer.train()
            yield
        finally:
            for layer in layers:
                layer.eval()
