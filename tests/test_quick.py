"""The quick LoRA layer is peft's own in all that it gives, forward and backward."""

from collections.abc import Callable

import pytest
import torch
from peft.tuners import lora
from torch import Tensor, nn

from loraloom.config import AdapterConfig
from loraloom.train.lora import inject
from loraloom.train.quick import SMALL, QuickLinear


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"to_q": nn.Linear(12, 20), "to_k": nn.Linear(12, 7, bias=False)}).double()


def adapted(**how: object) -> tuple[QuickLinear, nn.Module]:
    """A layer whose adapter acts, and its model."""
    whole = model()
    config = AdapterConfig.model_validate({"rank": 3, "alpha": 2.0, **how})
    inject(whole, config, ["to_q", "to_k"], torch.Generator().manual_seed(1))
    for name, weight in whole.named_parameters():
        if "lora_B" in name or "magnitude" in name:
            weight.data.normal_()
    whole.double()
    layer = whole["to_q"]  # type: ignore[index]
    assert isinstance(layer, QuickLinear)
    return layer, whole


def results(forward: Callable[[Tensor], Tensor], layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of all trained weights."""
    trained = [weight for weight in layer.parameters() if weight.requires_grad]
    x = x.detach().requires_grad_()
    out = forward(x)
    out.backward(torch.linspace(-1, 1, out.numel()).bfloat16().to(out.dtype).view_as(out))
    assert x.grad is not None
    found = [out.detach(), x.grad, *(w.grad.clone() for w in trained if w.grad is not None)]
    for weight in trained:
        weight.grad = None
    return found


@pytest.mark.parametrize("how", [{}, {"rslora": True}, {"init": "pissa"}, {"type": "dora"}])
def test_it_gives_what_pefts_gives(how: dict[str, object]) -> None:
    layer, _ = adapted(**how)
    x = torch.randn(2, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    own = results(layer, layer, x)
    theirs = results(lambda given: lora.Linear.forward(layer, given), layer, x)
    assert len(own) == len(theirs) >= 4
    torch.testing.assert_close(own, theirs, rtol=1e-12, atol=1e-12)
    plain = layer.base_layer(x)
    assert (own[0] - plain).abs().max() > 0.01
    layer.enable_adapters(False)
    assert torch.equal(layer(x), plain)


def test_inputs_are_dropped_in_training_alone() -> None:
    layer, _ = adapted(dropout=0.5)
    x = torch.randn(64, 12, dtype=torch.float64)
    resting = layer(x)
    assert torch.equal(resting, layer(x))
    layer.train()
    assert not torch.equal(resting, layer(x))


def test_a_quantised_layer_is_pefts() -> None:
    class Quantised(nn.Linear):
        pass

    whole = nn.ModuleDict({"to_q": Quantised(12, 20), "to_k": nn.Linear(12, 7)})
    inject(whole, AdapterConfig(rank=3, alpha=2.0), ["to_q", "to_k"], torch.Generator())
    assert not isinstance(whole["to_q"], QuickLinear)
    assert isinstance(whole["to_q"], lora.Linear)


@pytest.mark.parametrize("rows", [5, 3000])
def test_small_products_of_the_cpu_are_in_float32(rows: int) -> None:
    layer, whole = adapted()
    exact = torch.randn(rows, 12, generator=torch.Generator().manual_seed(3)).bfloat16()
    expected = results(lambda x: lora.Linear.forward(layer, x), layer, exact.double())
    layer.base_layer.bfloat16()
    for name, weight in whole.named_parameters():
        if "lora_" in name:
            weight.data = weight.data.float()
    base = results(layer.base_layer, layer, exact)

    def forward(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return layer(x)  # type: ignore[no-any-return]

    out, of_input, of_down, of_up = results(forward, layer, exact)
    assert out.dtype == of_input.dtype == base[0].dtype == torch.bfloat16
    assert of_down.dtype == of_up.dtype == torch.float32
    for found, wanted in zip((out, of_input), expected[:2], strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=0.02, atol=0.05)
    is_small = rows * 12 <= SMALL
    for found, wanted in zip((of_down, of_up), expected[2:], strict=True):
        error = (found.double() - wanted).abs().max() / wanted.abs().max()
        assert error < (1e-6 if is_small else 0.02)
        assert is_small or error > 1e-5
