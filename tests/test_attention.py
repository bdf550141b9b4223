"""Attention's gradient on the CPU: closer to the true one than torch's own, the values the same."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from loraloom.train import attention

SHAPES = [(2, 4, 64, 64, 40), (1, 2, 33, 77, 16)]


def drawn(shape: tuple[int, int, int, int, int], dtype: torch.dtype) -> list[Tensor]:
    """q, k, v and the gradient of the output, q, k and v as a layer gives them."""
    torch.manual_seed(0)
    batch, heads, length, others, width = shape
    sides = (length, others, others)
    made = [torch.randn(batch, n, heads, width, dtype=dtype).transpose(1, 2) for n in sides]
    gradient = torch.randn(batch, heads, length, width, dtype=dtype)
    return [*(each.requires_grad_() for each in made), gradient]


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The formula, Vaswani et al. 2017."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    return torch.softmax(scores if mask is None else scores + mask, -1) @ v


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_formula(shape: tuple[int, int, int, int, int], masked: bool) -> None:
    attention.with_float32_gradients()
    *ours, gradient = drawn(shape, torch.bfloat16)
    *exact, _ = [*(t.detach().double().requires_grad_() for t in ours), gradient]
    mask = torch.randn(shape[2], shape[3], dtype=torch.bfloat16) if masked else None
    out = F.scaled_dot_product_attention(*ours, attn_mask=mask)
    out.backward(gradient)
    true = attend(*exact, None if mask is None else mask.double())
    true.backward(gradient.double())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), true, rtol=0.02, atol=0.02)
    for mine, wanted in zip(ours, exact, strict=True):
        assert mine.grad is not None and wanted.grad is not None
        assert mine.grad.dtype == torch.bfloat16
        error = (mine.grad.double() - wanted.grad).norm() / wanted.grad.norm()
        assert error < 0.0023  # torch's own: 0.0024 to 0.0028


TOLD = """
import torch, torch.nn.functional as F
from tests.test_attention import SHAPES, drawn
from loraloom.train import attention
for install in (lambda: None, attention.with_float32_gradients):
    install()
    for dtype in (torch.float32, torch.float64):
        q, k, v, g = drawn(SHAPES[0], dtype)
        out = F.scaled_dot_product_attention(q, k, v)
        out.backward(g)
        with torch.no_grad():
            still = F.scaled_dot_product_attention(q, k, v)
        print([float(t.detach().double().sum()) for t in (out, still, q.grad, k.grad, v.grad)])
"""


def test_wider_numbers_are_as_before() -> None:
    """In a process of its own, where torch's is still there."""
    done = subprocess.run([sys.executable, "-c", TOLD], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and lines[:2] == lines[2:]
    assert "Warning" not in done.stderr
