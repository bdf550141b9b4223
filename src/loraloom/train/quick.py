"""LoRA on a linear layer in three operations, where peft's own takes five.

out = W x + b, then out + scale * B (A x) in one multiplication that adds: neither the scaled update
nor its sum is a tensor of its own, which saves time and memory traffic on every layer.

On the CPU a product of small matrices takes up to three times as long in bfloat16 as in float32, so
that a small adapter's products are in float32, which its weights are in anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn

SMALL = 2**14
"""Numbers in a layer's inputs, and in its outputs, up to which float32 is faster: 64 x 256, say."""


class _InFloat32(torch.autograd.Function):
    """out (N, m) + scale * B (A x): x (N, n) and out in bfloat16, A (r, n) and B (m, r) not."""

    @staticmethod
    def forward(
        ctx: Any, out: Tensor, rows: Tensor, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            wide = rows.float()
            inner = wide @ down.t()
            ctx.save_for_backward(wide, inner, down, up)
            ctx.scale, ctx.dtype = scale, rows.dtype
            ctx.mark_dirty(out)
            return out.add_(inner @ up.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wide, inner, down, up = ctx.saved_tensors
        scaled = gradients[0].float() * ctx.scale
        of_inner = scaled @ up
        of_rows = (of_inner @ down).to(ctx.dtype) if ctx.needs_input_grad[1] else None
        return gradients[0], of_rows, of_inner.t() @ wide, scaled.t() @ inner, None


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
            scale = self.scaling[name]
            if _is_small(out, rows):
                out = _InFloat32.apply(out, rows, down.weight, up.weight, scale)  # type: ignore[no-untyped-call]
            else:
                out = torch.addmm(out, F.linear(rows, down.weight), up.weight.t(), alpha=scale)
        return out.view(*x.shape[:-1], -1)

    def _are_plain(self, names: Iterable[str]) -> bool:
        """Neither DoRA and such, nor with inputs dropped."""
        return all(
            name not in self.lora_variant
            and not (self.training and isinstance(self.lora_dropout[name], nn.Dropout))
            and self.lora_B[name].bias is None
            for name in names
        )


def _is_small(out: Tensor, rows: Tensor) -> bool:
    return (
        max(rows.numel(), out.numel()) <= SMALL
        and out.dtype == torch.bfloat16
        and out.device.type == "cpu"
    )


def make_quick(config: LoraConfig, layers: Iterable[nn.Module]) -> None:
    """Let peft use it for these layers, unless one is quantised: that has a way of its own."""
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if all(type(one) is nn.Linear and type(one.weight.data) is Tensor for one in linear):
        config._register_custom_module({nn.Linear: QuickLinear})
