"""Adapters that are added to the base's weights: all kinds but plain LoRA.

Scale s makes a weight W + s * (what the adapter makes of W - W), as ComfyUI does, so that 0 is off
for the kinds that turn or stretch a weight too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from loraloom.adapters.state import AdapterState, canonical, each

Layers = Mapping[str, Mapping[str, nn.Module]]
"""Component ("unet") -> module path -> the layer of the base."""


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that an adapter can be on, by path. They stay the same ones when peft wraps
    them."""
    kinds = (nn.Linear, nn.Conv2d)
    return {canonical(path): m for path, m in model.named_modules() if isinstance(m, kinds)}


@dataclass
class MergedAdapters:
    """The adapters, and the base's own weights where they work."""

    layers: Layers
    _states: dict[str, AdapterState] = field(default_factory=dict)
    _own: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def add(self, name: str, state: AdapterState) -> None:
        """Keep an adapter whose modules the base has; it works from the next `set_scales` on."""
        self._states[name] = state
        for component, path, _ in each(state):
            weight = self.layers[component][path].weight
            assert isinstance(weight, Tensor)
            self._own.setdefault((component, path), weight.detach().clone())

    @torch.no_grad()
    def set_scales(self, scales: Mapping[str, float]) -> None:
        """Make every weight the base's own, and what the adapters that are named add to it."""
        for (component, path), own in self._own.items():
            total = own.float()
            for name, state in self._states.items():
                weights = state.get(component, {}).get(path)
                scale = scales.get(name, 0.0)
                if weights is not None and scale:
                    change = weights.change(own)
                    total = total + scale * change.reshape(own.shape).to(own.device)
            layer = self.layers[component][path]
            assert isinstance(layer.weight, Tensor)
            layer.weight.copy_(total)
