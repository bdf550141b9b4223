"""LoRA on a linear layer in three operations, where peft's own takes five.

out = W x + b, then out + scale * B (A x) in one multiplication that adds: neither the scaled update
nor its sum is a tensor of its own, which saves time and memory traffic on every layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn


class QuickLinear(Linear):
    """peft's layer, x (…, in) -> (…, out); where more is asked of it, peft's own way."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        names = [name for name in self.active_adapters if name in self.lora_A]
        if args or kwargs or self.disable_adapters or self.merged or not self._are_plain(names):
            slow: Tensor = super().forward(x, *args, **kwargs)
            return slow
        rows = x.reshape(-1, x.shape[-1])
        out: Tensor = self.base_layer(rows)
        for name in names:
            down: Any = self.lora_A[name]
            up: Any = self.lora_B[name]
            out = torch.addmm(
                out, F.linear(rows, down.weight), up.weight.t(), alpha=self.scaling[name]
            )
        return out.view(*x.shape[:-1], -1)

    def _are_plain(self, names: Iterable[str]) -> bool:
        """Neither DoRA and such, nor with inputs dropped."""
        return all(
            name not in self.lora_variant
            and not (self.training and isinstance(self.lora_dropout[name], nn.Dropout))
            and self.lora_B[name].bias is None
            for name in names
        )


def make_quick(config: LoraConfig, layers: Iterable[nn.Module]) -> None:
    """Let peft use it for these layers, unless one is quantised: that has a way of its own."""
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if all(type(one) is nn.Linear and type(one.weight.data) is Tensor for one in linear):
        config._register_custom_module({nn.Linear: QuickLinear})
