"""An adapter in memory, whatever file layout it comes from or goes to."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.boft import BOFTLayer
from peft.tuners.loha import LoHaLayer
from peft.tuners.lokr import LoKrLayer
from peft.tuners.lora import LoraLayer
from peft.tuners.oft import OFTLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from loraloom.adapters.weights import (
    BoftWeights,
    LohaWeights,
    LokrWeights,
    LoraWeights,
    OftWeights,
    Weights,
)
from loraloom.config import AdapterType

START = "start"
"""The name of a second LoRA that is taken away from the trained one, where that did not begin at
zero effect."""


AdapterState = dict[str, dict[str, Weights]]
"""Component ("unet", "text_encoder") -> module path -> weights; see `canonical` for the path."""


def canonical(path: str) -> str:
    """The module path without the wrappers that come and go between library versions.

    PEFT's `PeftModel` puts `base_model.model.` in front; CLIP's text model lost its inner
    `text_model.` in transformers 5. Files always carry `text_model.`, see keys.py.
    """
    return path.removeprefix("base_model.model.").removeprefix("text_model.")


def from_peft(model: nn.Module, adapter: str = "default") -> dict[str, Weights]:
    """The weights that PEFT injected into `model` under the name `adapter`.

    The tensors share memory with the model, as far as they are the model's own: write or clone
    them before the next step.
    """
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and (weights := _weights(module, adapter)):
            found[canonical(path)] = weights
    return found


def _weights(layer: Any, adapter: str) -> Weights | None:
    if isinstance(layer, LoraLayer) and adapter in layer.lora_A:
        return _lora(layer, adapter)
    if isinstance(layer, LoHaLayer) and adapter in layer.hada_w1_a:
        w1_a, w1_b, w2_a, w2_b = (
            getattr(layer, f"hada_{name}")[adapter].detach()
            for name in ("w1_a", "w1_b", "w2_a", "w2_b")
        )
        return LohaWeights(w1_a, w1_b, w2_a, w2_b, float(layer.alpha[adapter]))
    if isinstance(layer, LoKrLayer) and (adapter in layer.lokr_w1 or adapter in layer.lokr_w1_a):
        return _lokr(layer, adapter)
    if isinstance(layer, OFTLayer) and adapter in layer.oft_R:
        turn: Any = layer.oft_R[adapter]
        terms = turn.num_cayley_neumann_terms if turn.use_cayley_neumann else 0
        return OftWeights(turn.weight.detach(), terms)
    if isinstance(layer, BOFTLayer) and adapter in layer.boft_R:
        return BoftWeights(layer.boft_R[adapter].detach(), layer.boft_s[adapter].detach())
    return None


def _lora(layer: Any, adapter: str) -> LoraWeights:
    down, up = layer.lora_A[adapter].weight.detach(), layer.lora_B[adapter].weight.detach()
    alpha = float(layer.lora_alpha[adapter])
    if layer.use_rslora[adapter]:
        alpha *= down.shape[0] ** 0.5  # files know no other scale than alpha / rank
    if START in layer.lora_A:
        down = torch.cat([down, layer.lora_A[START].weight.detach()])
        up = torch.cat([up, layer.lora_B[START].weight.detach()], dim=1)
        alpha *= 2
    magnitude = None
    if adapter in layer.lora_magnitude_vector:
        lengths = layer.lora_magnitude_vector[adapter].weight.detach().flatten()
        magnitude = lengths.reshape(-1, *[1] * (down.ndim - 1))
    return LoraWeights(down, up, alpha, magnitude)


def _lokr(layer: Any, adapter: str) -> LokrWeights:
    w1, w1_a, w1_b, w2, w2_a, w2_b = (
        _own(layer, f"lokr_{name}", adapter)
        for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b")
    )
    alpha, rank = float(layer.alpha[adapter]), int(layer.r[adapter])
    if w1 is not None and w2 is not None:  # files know no scale of two whole factors
        w1, alpha = w1 * (alpha / rank), 1.0
    return LokrWeights(w1, w1_a, w1_b, w2, w2_a, w2_b, alpha)


def _own(layer: nn.Module, name: str, adapter: str) -> Tensor | None:
    held = getattr(layer, name)
    return held[adapter].detach() if adapter in held else None


def each(state: AdapterState) -> Iterator[tuple[str, str, Weights]]:
    """(component, module path, weights) in a fixed order."""
    for component in sorted(state):
        for path in sorted(state[component]):
            yield component, path, state[component][path]


def kind_of(state: AdapterState) -> AdapterType:
    """The adapter's kind: the most frequent one of its modules."""
    return Counter(weights.kind for _, _, weights in each(state)).most_common(1)[0][0]


def with_unit_scale(state: AdapterState) -> AdapterState:
    """The same adapter with alpha = rank in each LoRA; `alpha / rank` is folded into `up`.

    For consumers that cannot take an alpha per module.
    """
    folded: AdapterState = {}
    for component, path, weights in each(state):
        if isinstance(weights, LoraWeights):
            up = weights.up.to(torch.float32) * (weights.alpha / weights.rank)
            down = weights.down.to(torch.float32)
            weights = LoraWeights(down, up, float(weights.rank), weights.magnitude)
        folded.setdefault(component, {})[path] = weights
    return folded
