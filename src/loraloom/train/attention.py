"""Attention on the CPU whose gradient is computed in float32 at least.

torch's kernel for the gradient takes several times as long in bfloat16 as in float32 where pictures
are small, so that casting there and back is cheap. The forward pass, which is faster in bfloat16,
stays as it is; the gradient is closer to the true one.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_GRADIENT = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _Attention(torch.autograd.Function):
    """q (B, heads, L, width), k and v (B, heads, S, width) -> out like q, log of sums (B, L, …)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout: float,
        causal: bool,
        mask: Tensor | None,
        scale: float | None,
    ) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():  # torch's own, and not this one again
            out, sums = _FLASH(query, key, value, dropout, causal, attn_mask=mask, scale=scale)
        ctx.save_for_backward(query, key, value, out, sums, mask)
        ctx.options = dropout, causal, scale
        ctx.mark_non_differentiable(sums)
        return out, sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums, mask = ctx.saved_tensors
        dropout, causal, scale = ctx.options
        dtype = torch.promote_types(query.dtype, torch.float32)
        wide = (each.to(dtype) for each in (gradients[0], query, key, value, out))
        mask = mask if mask is None or mask.dtype == torch.bool else mask.to(dtype)
        found = _GRADIENT(*wide, sums, dropout, causal, attn_mask=mask, scale=scale)
        return (*(each.to(query.dtype) for each in found), None, None, None, None)


@cache
def with_float32_gradients() -> Library:
    """Put it in the place of torch's own, in this process; what comes back keeps it there."""
    library = Library("aten", "IMPL", "AutogradCPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a kernel of torch's own is replaced
        library.impl("_scaled_dot_product_flash_attention_for_cpu", _attend)
    return library


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> Any:
    return _Attention.apply(query, key, value, dropout_p, is_causal, attn_mask, scale)  # type: ignore[no-untyped-call]
