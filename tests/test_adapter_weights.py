"""Each kind of adapter: what it adds to a weight is what its layer computes, and begins at zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from loraloom.adapters.state import from_peft
from loraloom.adapters.weights import LoraWeights
from loraloom.config import AdapterConfig
from loraloom.errors import ConfigInvalid
from loraloom.train import lora, tuners

RANKED = {"rank": 2, "alpha": 3.0}
KINDS: dict[str, dict[str, Any]] = {
    "lora": RANKED,
    "rslora": {**RANKED, "type": "lora", "rslora": True},
    "pissa": {**RANKED, "type": "lora", "init": "pissa"},
    "dora": {**RANKED, "type": "dora"},
    "loha": {**RANKED, "type": "loha"},
    "lokr": {**RANKED, "type": "lokr"},  # w2 whole
    "lokr of rank 1": {"type": "lokr", "rank": 1, "alpha": 3.0},  # w2 in parts
    "lokr by two": {**RANKED, "type": "lokr", "factor": 2},
    "oft": {"type": "oft", "block_size": 4},
    "boft": {"type": "boft", "block_size": 4},
}
LAYERS = {"linear": (), "conv 1": (1, 1), "conv 3": (3, 3)}


class Net(nn.Module):
    """One layer of 8 inputs and 12 outputs with a bias."""

    def __init__(self, kernel: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.to_q = nn.Conv2d(8, 12, kernel[0], padding=kernel[0] // 2) if kernel else (
            nn.Linear(8, 12)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.to_q(x)
        return out


@pytest.mark.parametrize(
    ("kind", "layer"),
    [(k, one) for k in KINDS for one in LAYERS if (k, one) != ("oft", "conv 3")],  # refused, below
)
def test_a_kind_adds_what_its_layer_computes(kind: str, layer: str) -> None:
    kernel = LAYERS[layer]
    net = Net(kernel)
    base, bias = net.to_q.weight.detach().clone(), net.to_q.bias.detach().clone()
    x = torch.randn(5, 8, 6, 6) if kernel else torch.randn(5, 8)

    def plain(weight: Tensor) -> Tensor:
        if kernel:
            return functional.conv2d(x, weight, bias, padding=kernel[0] // 2)
        return functional.linear(x, weight, bias)

    config = AdapterConfig(**KINDS[kind])
    injected = lora.inject(net, config, ["to_q"], torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(x), plain(base), atol=1e-5, rtol=0)
    (weights,) = from_peft(net).values()
    torch.testing.assert_close(weights.change(base).abs().max(), torch.tensor(0.0), atol=1e-5,
                               rtol=0)  # fmt: skip

    for number, parameter in enumerate(injected.trained.values()):
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(number))
    (weights,) = from_peft(net).values()
    change = weights.change(base)
    assert weights.fits(tuple(base.shape)) and change.abs().max() > 0.1
    torch.testing.assert_close(net(x), plain(base + change.reshape(base.shape)))

    net(x).sum().backward()  # type: ignore[no-untyped-call]
    trained = {name for name, p in net.named_parameters() if p.requires_grad}
    assert trained == set(injected.trained)
    held = {name: p for name, p in net.named_parameters() if name.endswith("base_layer.weight")}
    assert all(torch.equal(p, base) and p.grad is None for p in held.values()) and held


def test_pissa_begins_with_the_strongest_part_of_the_weight() -> None:
    """Its own singular values, against torch's whole decomposition."""
    net = Net(())
    base = net.to_q.weight.detach().clone()
    injected = lora.inject(
        net, AdapterConfig(**KINDS["pissa"]), ["to_q"], torch.Generator().manual_seed(0)
    )
    b, a = (next(p for n, p in injected.trained.items() if f"lora_{x}" in n) for x in "BA")
    u, s, v = torch.linalg.svd(base)
    wanted = u[:, :2] @ torch.diag(s[:2]) @ v[:2]
    torch.testing.assert_close(3.0 / 2 * b @ a, wanted, atol=1e-4, rtol=1e-4)
    assert len(injected.constant) == 2
    (weights,) = from_peft(net).values()
    assert isinstance(weights, LoraWeights) and (weights.rank, weights.alpha) == (4, 6.0)


def test_dora_begins_with_float32_lengths_of_a_base_in_bfloat16() -> None:
    net = Net(()).bfloat16()
    base = net.to_q.weight.detach().float()
    injected = lora.inject(
        net, AdapterConfig(**KINDS["dora"]), ["to_q"], torch.Generator().manual_seed(0)
    )
    (lengths,) = (p for n, p in injected.trained.items() if "magnitude" in n)
    torch.testing.assert_close(lengths.detach(), base.square().sum(1).sqrt())


def test_dora_drops_inputs() -> None:
    net = Net(())
    config = AdapterConfig(**KINDS["dora"], dropout=0.5)
    injected = lora.inject(net, config, ["to_q"], torch.Generator().manual_seed(0))
    for parameter in injected.trained.values():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    x = torch.randn(5, 8)
    with lora.dropout([net], 0.5, torch.Generator().manual_seed(2)):
        dropped = net(x)
    assert not torch.allclose(dropped, net(x))


def test_ranks_of_some_layers_keep_alpha_over_rank() -> None:
    net = nn.ModuleDict({"to_q": nn.Linear(8, 8), "ff": nn.ModuleDict({"0": nn.Linear(8, 8)})})
    config = AdapterConfig(**RANKED, ranks={"ff.*": 6})
    lora.inject(net, config, ["to_q", "ff.0"], torch.Generator())
    tuners.check_ranks(config, [net])
    found = from_peft(net)
    assert {path: (w.rank, w.alpha) for path, w in found.items()} == {
        "to_q": (2, 3.0), "ff.0": (6, 9.0)
    }  # fmt: skip
    with pytest.raises(ConfigInvalid, match=r"adapter.ranks: no layer .* 'to_k'"):
        tuners.check_ranks(AdapterConfig(**RANKED, ranks={"to_k": 6}), [net])


def test_lora_plus_gives_the_second_half_its_own_rate() -> None:
    injected = lora.inject(Net(()), AdapterConfig(**RANKED), ["to_q"], torch.Generator())
    (slow, rate), (fast, other) = injected.rates(1e-3, 16)
    assert (rate, other) == (1e-3, 16e-3)
    assert slow == [p for n, p in injected.trained.items() if "lora_A" in n]
    assert fast == [p for n, p in injected.trained.items() if "lora_B" in n]


@pytest.mark.parametrize(
    ("kernel", "given", "message"),
    [
        ((3, 3), {"type": "oft", "block_size": 4}, "cannot turn the inputs of to_q, a convolution"),
        ((), {"type": "oft", "block_size": 6}, r"block_size = 6 .* the 8 inputs .* such as 4"),
        ((), {"type": "boft", "block_size": 3}, r"block_size = 3 does not divide .* such as 2"),
        ((), {"type": "boft", "block_size": 16}, r"block_size = 16 .* such as 8, or other"),
    ],
)
def test_what_cannot_be_turned_is_refused(
    kernel: tuple[int, ...], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        lora.inject(Net(kernel), AdapterConfig(**given), ["to_q"], torch.Generator())


@pytest.mark.parametrize("kernel", [(), (1, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_learns_beside_a_base_in_bfloat16(kind: str, kernel: tuple[int, ...]) -> None:
    net = Net(kernel).bfloat16()
    base = net.to_q.weight.detach().clone()
    injected = lora.inject(
        net, AdapterConfig(**KINDS[kind]), ["to_q"], torch.Generator().manual_seed(0)
    )
    assert {p.dtype for p in injected.trained.values()} == {torch.float32}
    shape = (5, 8, 6, 6) if kernel else (5, 8)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.SGD(injected.trained.values(), lr=0.01)
    losses = []
    for _ in range(20):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (net(x.bfloat16()).float() - 1).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in net.parameters())
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    (held,) = (p for n, p in net.named_parameters() if n.endswith("base_layer.weight"))
    assert torch.equal(held, base)
