"""A LoRA adapter in memory, whatever file layout it comes from or goes to."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn


@dataclass(frozen=True)
class LoraWeights:
    """One module's adapter: its output gains `alpha / rank * up(down(x))`."""

    down: Tensor  # (rank, in) or (rank, in, kh, kw)
    up: Tensor  # (out, rank) or (out, rank, 1, 1)
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]


AdapterState = dict[str, dict[str, LoraWeights]]
"""Component ("unet", "text_encoder") -> module path -> weights; see `canonical` for the path."""


def canonical(path: str) -> str:
    """The module path without the wrappers that come and go between library versions.

    PEFT's `PeftModel` puts `base_model.model.` in front; CLIP's text model lost its inner
    `text_model.` in transformers 5. Files always carry `text_model.`, see keys.py.
    """
    return path.removeprefix("base_model.model.").removeprefix("text_model.")


def from_peft(model: nn.Module, adapter: str = "default") -> dict[str, LoraWeights]:
    """The LoRA weights that PEFT injected into `model` under the name `adapter`.

    The tensors share memory with the model: write or clone them before the next step.
    """
    layers = {
        canonical(path): module
        for path, module in model.named_modules()
        if isinstance(module, LoraLayer) and adapter in module.lora_A
    }
    return {path: _weights(layer, adapter) for path, layer in layers.items()}


def _weights(layer: LoraLayer, adapter: str) -> LoraWeights:
    down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    assert isinstance(down, Tensor) and isinstance(up, Tensor)
    return LoraWeights(down.detach(), up.detach(), float(layer.lora_alpha[adapter]))


def each(state: AdapterState) -> Iterator[tuple[str, str, LoraWeights]]:
    """(component, module path, weights) in a fixed order."""
    for component in sorted(state):
        for path in sorted(state[component]):
            yield component, path, state[component][path]


def with_unit_scale(state: AdapterState) -> AdapterState:
    """The same adapter with alpha = rank everywhere; `alpha / rank` is folded into `up`.

    For consumers that cannot take an alpha per module.
    """
    folded: AdapterState = {}
    for component, path, lora in each(state):
        up = lora.up.to(torch.float32) * (lora.alpha / lora.rank)
        unit = LoraWeights(lora.down.to(torch.float32), up, float(lora.rank))
        folded.setdefault(component, {})[path] = unit
    return folded
