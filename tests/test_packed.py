"""Frozen convolutions laid out once give what torch's own give."""

import pytest
import torch
from torch import nn

from loraloom.train import packed
from loraloom.train.packed import PackedConv2d, pack_frozen


def frozen_conv(inputs: int, outputs: int, kernel: int, **options: int) -> nn.Conv2d:
    torch.manual_seed(inputs + kernel)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)
    return conv.bfloat16().requires_grad_(False)


def through(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and gradient to the input of a fixed weighted sum of it."""
    x = x.clone().requires_grad_()
    out = model(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
    (out.float() * weights).sum().backward()
    assert x.grad is not None
    return out.detach(), x.grad


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "side_px"), [(640, 320, 3, 16), (1024, 1024, 1, 8)]
)
def test_output_and_gradient_are_those_of_torch(
    inputs: int, outputs: int, kernel: int, side_px: int
) -> None:
    conv = frozen_conv(inputs, outputs, kernel)
    model = nn.Sequential(conv)
    assert pack_frozen(model) == 1
    assert isinstance(model[0], PackedConv2d)
    for batch, side in ((1, side_px), (3, side_px), (1, side_px // 2)):
        x = torch.randn(batch, inputs, side, side).bfloat16()
        for memory_format in (torch.channels_last, torch.contiguous_format):
            given = x.contiguous(memory_format=memory_format)
            out, gradient = through(model, given)
            wanted, wanted_gradient = through(conv, given)
            torch.testing.assert_close(out, wanted, rtol=0.02, atol=0.02)
            torch.testing.assert_close(gradient, wanted_gradient, rtol=0.02, atol=0.02)
            exact = nn.functional.conv2d(
                given.double(), conv.weight.double(), conv.bias.double(), padding=kernel // 2
            )
            assert (out.double() - exact).abs().max() < 0.02


def test_only_large_frozen_convolutions_of_plain_kind_are_packed() -> None:
    trained = frozen_conv(640, 320, 3).requires_grad_(True)
    full_precision = frozen_conv(640, 320, 3).float()
    model = nn.ModuleDict(
        {
            "trained": trained,
            "float32": full_precision,
            "strided": frozen_conv(640, 320, 3, stride=2),
            "grouped": frozen_conv(2560, 2560, 3, groups=2),
            "small": frozen_conv(8, 8, 3),
            "fits": frozen_conv(640, 320, 3),
        }
    )
    assert pack_frozen(model) == 1
    assert isinstance(model["fits"], PackedConv2d)


def test_names_and_weights_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(frozen_conv(640, 320, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pack_frozen(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)

    monkeypatch.setattr(packed, "_available", lambda: False)
    assert pack_frozen(nn.Sequential(frozen_conv(640, 320, 3))) == 0


def test_what_the_layouts_take_is_known_before() -> None:
    """From shapes alone; oneDNN's tensors tell no bytes, so theirs are counted when made dense."""
    model = nn.Sequential(frozen_conv(640, 320, 3), frozen_conv(8, 8, 3))
    told = packed.packed_bytes(model.to("meta"))
    real = nn.Sequential(frozen_conv(640, 320, 3), frozen_conv(8, 8, 3))
    pack_frozen(real)
    conv = real[0]
    x = torch.randn(1, 640, 8, 8).bfloat16()
    layouts = conv.forward_weight(x), conv.backward_weight(torch.randn(1, 320, 8, 8).bfloat16())
    assert told == sum(one.to_dense().nbytes for one in layouts)
