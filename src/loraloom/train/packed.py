"""Frozen convolutions with their weights laid out once for the CPU, forward and backward.

oneDNN reorders a convolution's weights on every call, and once more for the gradient to its input.
Where the picture is small and the weights are large, as in the deep half of a UNet, that costs
more than the convolution. The weights of a LoRA's base never change, so both layouts are made once;
the results are the same to the last bit. The price is memory: both are held beside the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEAST_WEIGHTS = 1_000_000
"""Below this many weights reordering is too cheap to matter."""


class _Convolve(torch.autograd.Function):
    """Stride 1, "same" padding: its gradient is a convolution with the turned weights."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: PackedConv2d) -> Tensor:
        ctx.conv = conv
        return conv.convolve(x, conv.forward_weight(x), conv.bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        conv: PackedConv2d = ctx.conv
        return conv.convolve(gradient, conv.backward_weight(gradient), None), None


class PackedConv2d(nn.Module):
    """Stands in for a frozen nn.Conv2d; x is (B, C_in, H, W), in the weights' dtype or cast to it.

    The layouts are made when the first picture and the first gradient come, whose size they suit.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.padding, self.dilation = list(conv.padding), list(conv.dilation)
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride, self.groups = conv.kernel_size, conv.stride, conv.groups
        self.weight, self.bias = conv.weight, conv.bias
        self._forward: Tensor | None = None
        self._backward: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Convolve.apply(x.to(self.weight.dtype), self)  # type: ignore[no-untyped-call]
        return out

    def convolve(self, x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, packed, bias, self.padding, [1, 1], self.dilation, 1, "none", [], ""
        )
        return out

    def forward_weight(self, x: Tensor) -> Tensor:
        if self._forward is None:
            self._forward = self._pack(self.weight.detach(), x)
        return self._forward

    def backward_weight(self, gradient: Tensor) -> Tensor:
        if self._backward is None:
            turned = self.weight.detach().flip(2, 3).transpose(0, 1)
            self._backward = self._pack(turned, gradient)
        return self._backward

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        packed: Tensor = torch._C._nn.mkldnn_reorder_conv2d_weight(  # type: ignore[call-arg]
            weight.contiguous().to_mkldnn(), self.padding, [1, 1], self.dilation, 1, list(x.shape)
        )
        return packed


def pack_frozen(model: nn.Module) -> int:
    """Replace the large frozen convolutions of a bfloat16 model on the CPU; returns how many."""
    if not _available():
        return 0
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and _fits(child) and child.weight.device.type == "cpu":
                setattr(parent, name, PackedConv2d(child))
                count += 1
    return count


def packed_bytes(model: nn.Module) -> int:
    """What both layouts of a model's convolutions take beside its weights, which may be on "meta"
    only, once it is on the CPU."""
    if not _available():
        return 0
    convolutions = (one for one in model.modules() if isinstance(one, nn.Conv2d))
    return sum(2 * one.weight.nbytes for one in convolutions if _fits(one))


def _available() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_convolution_pointwise"
    )


def _fits(conv: nn.Conv2d) -> bool:
    weight = conv.weight
    same = tuple(d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return (
        weight.numel() >= LEAST_WEIGHTS
        and weight.dtype == torch.bfloat16
        and not weight.requires_grad
        and conv.stride == (1, 1)
        and conv.groups == 1
        and conv.padding == same
        and all(k % 2 == 1 for k in conv.kernel_size)
        and conv.padding_mode == "zeros"
    )
