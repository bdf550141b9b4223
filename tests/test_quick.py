"""The quick LoRA layer is peft's own in all that it gives, forward and backward."""

from collections.abc import Callable

import pytest
import torch
from peft.tuners import lora
from torch import Tensor, nn

from loraloom.config import AdapterConfig
from loraloom.train.lora import inject
from loraloom.train.quick import QuickLinear


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
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
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
