"""The turns of OFT and BOFT, against float64, peft's own layers and themselves merged."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import BOFTConfig, inject_adapter_in_model
from torch import Tensor, nn

from loraloom.config import AdapterConfig
from loraloom.train import tuners
from loraloom.train.turning import BlockwiseConv2d, BlockwiseLinear, ExactRotation, turn_exactly

WIDTH, BLOCK = 12, 4
Make = Callable[[], nn.Module]
LAYERS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(WIDTH, 5), (2, 7, WIDTH)),
    "linear without bias": (lambda: nn.Linear(WIDTH, 5, bias=False), (7, WIDTH)),
    "convolution": (lambda: nn.Conv2d(8, 6, 3, padding=1), (2, 8, 9, 7)),
    "convolution that halves": (lambda: nn.Conv2d(8, 6, 3, stride=2, padding=1), (2, 8, 9, 7)),
    "convolution of 1 x 1": (lambda: nn.Conv2d(8, 6, 1, bias=False), (2, 8, 9, 7)),
}


def rotation(skew: NDArray[np.float64]) -> NDArray[np.float64]:
    one = np.eye(len(skew))
    return (one - skew) @ np.linalg.inv(one + skew)  # Cayley


def butterfly(layer: nn.Module, *, names: tuple[str, ...] = ("default",)) -> nn.Module:
    """With peft's own BOFT, whose turns and scales are drawn."""
    model = nn.Sequential(layer)
    for name in names:
        config = BOFTConfig(boft_block_size=BLOCK, boft_n_butterfly_factor=1, target_modules="0")
        inject_adapter_in_model(config, model, name)
        layer = model[0]
        layer.boft_R[name].data.normal_(std=0.3)
        layer.boft_s[name].data.normal_(1, 0.2)
    model[0].set_adapter(list(names))
    return model


def answers(model: nn.Module, shape: tuple[int, ...]) -> list[Tensor]:
    """What comes out, and the gradients of what is learnt and of what went in."""
    torch.manual_seed(1)
    x = torch.randn(shape, requires_grad=True)
    out = model(x)
    learnt = [p for name, p in model.named_parameters() if ".boft_" in name]
    return [out, *torch.autograd.grad((out * torch.randn_like(out)).sum(), [*learnt, x])]


@pytest.fixture(autouse=True)
def drawn() -> None:
    torch.manual_seed(0)


def test_small_turns_are_not_rounded_away() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, 5, bias=False))
    config = AdapterConfig(type="oft", rank=None, alpha=None, block_size=BLOCK)
    tuners.insert(model, config, ["0"])
    (turn,) = (module for module in model.modules() if isinstance(module, ExactRotation))
    angles = 1e-3 * torch.randn_like(turn.weight)
    turn.weight.data.copy_(angles)
    x = torch.randn(7, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        turned = turn(x)
    assert turned.dtype == torch.float32
    expected = x.double().numpy().copy()
    for block, own in enumerate(angles.double().numpy()):
        skew = np.zeros((BLOCK, BLOCK))
        skew[np.triu_indices(BLOCK, 1)] = own
        skew -= skew.T
        columns = slice(block * BLOCK, (block + 1) * BLOCK)
        expected[:, columns] = expected[:, columns] @ rotation(skew)
    change = np.abs(expected - x.double().numpy()).max()
    assert np.abs(turned.detach().numpy() - expected).max() < 1e-3 * change


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("names", [("default",), ("default", "other")])
def test_blocks_do_what_pefts_matrices_do(kind: str, names: tuple[str, ...]) -> None:
    make, shape = LAYERS[kind]
    model = butterfly(make(), names=names)
    expected = answers(model, shape)
    turn_exactly(model)
    assert type(model[0]) in (BlockwiseLinear, BlockwiseConv2d)  # type: ignore[index]
    assert model[0].boft_P.numel() == 0  # type: ignore[index]
    for ours, theirs in zip(answers(model, shape), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_merged_and_switched_off(kind: str) -> None:
    make, shape = LAYERS[kind]
    base = make()
    x = torch.randn(shape)
    plain = base(x)
    model = butterfly(base)
    turn_exactly(model)
    layer = model[0]  # type: ignore[index]
    out = model(x)
    assert (out - plain).abs().max() > 0.1
    layer.merge()
    torch.testing.assert_close(model(x), out, rtol=1e-4, atol=1e-5)
    layer.unmerge()
    torch.testing.assert_close(model(x), out, rtol=1e-4, atol=1e-5)
    layer.enable_adapters(False)
    torch.testing.assert_close(model(x), plain, rtol=1e-4, atol=1e-5)


def test_a_butterflys_small_turns_are_not_rounded_away() -> None:
    """In the weights of a convolution under autocast, before they are rounded as a whole."""
    model = butterfly(nn.Linear(WIDTH, WIDTH, bias=False))
    turn_exactly(model)
    layer = model[0]  # type: ignore[index]
    layer.get_base_layer().weight.data.copy_(torch.eye(WIDTH))
    layer.boft_s["default"].data.fill_(1)
    angles = layer.boft_R["default"].data.normal_(std=2e-3)[0].double().numpy()
    x = torch.randn(7, WIDTH).bfloat16().float()
    seen: list[Tensor] = []
    layer.get_base_layer().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(x)
    expected = x.double().numpy().copy()
    for block, own in enumerate(angles):
        columns = slice(block * BLOCK, (block + 1) * BLOCK)
        expected[:, columns] = expected[:, columns] @ rotation((own - own.T) / 2)
    change = np.abs(expected - x.double().numpy()).max()
    assert np.abs(seen[0].detach().numpy() - expected).max() < 1e-3 * change


def test_no_two_matrices_are_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """peft makes one for each layer; all of them would fill the memory of any machine."""
    held: list[int] = []
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(3)))
    made = nn.Module.register_buffer

    def count(layer: nn.Module, *given: object, **how: object) -> None:
        held.append(sum(b.numel() for name, b in model.named_buffers() if name.endswith("boft_P")))
        made(layer, *given, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(nn.Module, "register_buffer", count)
    config = AdapterConfig(type="boft", rank=None, alpha=None, block_size=BLOCK)
    tuners.insert(model, config, ["0", "1", "2"])
    assert held and not any(held)
    model(torch.randn(2, WIDTH))
