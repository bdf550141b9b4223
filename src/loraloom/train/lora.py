"""The trained adapter inside a frozen model, through peft."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from loraloom.adapters.state import START
from loraloom.config import AdapterConfig
from loraloom.train.tuners import insert

_RANDOM = ("lora_A", "hada_w1_a", "hada_w1_b", "hada_w2_a", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
"""Weights that begin at random; of each kind at least one other begins at zero."""
_TRAINED = (".lora_", ".hada_", ".lokr_", ".oft_", ".boft_")
_PISSA_ITERATIONS = 16  # as in the paper's fast SVD, arXiv:2404.02948


@dataclass(frozen=True)
class Injected:
    """An adapter's weights by name, float32 whatever the model's dtype."""

    trained: dict[str, nn.Parameter]
    constant: dict[str, nn.Parameter]
    """What the trained ones began at, where that is taken away from them again."""

    def rates(self, rate: float, plus_ratio: float) -> list[tuple[list[nn.Parameter], float]]:
        """Weights and their learning rate: lora_B has its own in LoRA+, arXiv:2402.12354."""
        if plus_ratio == 1:
            return [(list(self.trained.values()), rate)]
        faster = {name for name in self.trained if ".lora_B." in name}
        return [
            ([p for name, p in self.trained.items() if name not in faster], rate),
            ([self.trained[name] for name in self.trained if name in faster], rate * plus_ratio),
        ]


def inject(
    model: nn.Module, config: AdapterConfig, targets: Iterable[str], generator: torch.Generator
) -> Injected:
    """Add an adapter of zero effect to each module whose path ends in a target; see tuners.py.

    All but the trained weights is frozen. Raises NothingToTrain where no module fits, ConfigInvalid
    where one cannot have such an adapter.
    """
    endings = list(targets)
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        insert(model, config, endings)
        if config.init == "pissa":
            undropped = config.model_copy(update={"dropout": 0.0})
            insert(model, undropped, endings, START)
    named = {n: p for n, p in model.named_parameters() if any(end in n for end in _TRAINED)}
    constant = {name: p for name, p in named.items() if f".{START}." in name}
    trained = {name: p for name, p in named.items() if name not in constant}
    for name, parameter in named.items():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(name in trained)
    for name, parameter in trained.items():
        if any(f".{kind}." in name for kind in _RANDOM):
            start = torch.empty(parameter.shape)  # on the CPU, where the generator is
            nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
            parameter.data.copy_(start)
    layers: list[Any] = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    for layer in layers:
        # Autocast casts where it must; peft's own cast would go through float32 and back.
        layer.cast_input_dtype_enabled = False
        if isinstance(layer, LoraLayer):
            _begin(layer, config, generator)
    # peft's new layers start in training mode, where their dropout draws from the global stream.
    model.eval()
    return Injected(trained, constant)


def _begin(layer: Any, config: AdapterConfig, generator: torch.Generator) -> None:
    """What a LoRA's start takes from the base's weight, in float32 whatever that is in."""
    weight = dequantize_module_weight(layer.get_base_layer()).detach().float()
    if config.type == "dora":
        length = torch.linalg.vector_norm(weight.flatten(1), dim=1)
        magnitude = layer.lora_magnitude_vector["default"].weight
        magnitude.data.copy_(length.reshape(magnitude.shape))
    if config.init == "pissa":
        _begin_pissa(layer, weight.flatten(1), generator)


def _begin_pissa(layer: Any, weight: Tensor, generator: torch.Generator) -> None:
    """The strongest part of the weight (out, in), arXiv:2404.02948.

    There it is taken out of the base; here the base stays and a second, constant LoRA takes it
    away, which is the same and leaves the base's bits alone.
    """
    rank, scale = layer.r["default"], layer.scaling["default"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        u, s, v = torch.svd_lowrank(weight.cpu(), q=rank, niter=_PISSA_ITERATIONS)
    root = (s / scale).sqrt()
    for name, sign in (("default", 1.0), (START, -1.0)):
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        down.data.copy_((root[:, None] * v.T).reshape(down.shape))
        up.data.copy_((sign * u * root).reshape(up.shape))
    layer.set_adapter(["default", START])
    layer.lora_A[START].weight.requires_grad_(False)
    layer.lora_B[START].weight.requires_grad_(False)


def copy_into(trained: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor]) -> None:
    """Set the trained weights to saved ones of the same names and shapes."""
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(saved[name])


@contextmanager
def switched_off(models: Iterable[nn.Module]) -> Iterator[None]:
    """Within, the models compute as they do without their adapters."""
    modules = (module for model in models for module in model.modules())
    layers: list[Any] = [module for module in modules if isinstance(module, BaseTunerLayer)]
    try:
        for layer in layers:
            layer._disable_adapters = True  # peft's own way changes what requires gradients
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


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
    # The layer itself too: DoRA asks it, and not its dropout, whether it is in training.
    layers = [module for module in modules if isinstance(module, LoraLayer)]
    with torch.random.fork_rng():
        torch.manual_seed(generator.initial_seed())
        try:
            for layer in layers:
                layer.train()
            yield
        finally:
            for layer in layers:
                layer.eval()
