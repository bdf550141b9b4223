"""Adapters out of others, against torch's own decomposition of what they do together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from tests import tiny
from torch import Tensor

from loraloom.adapters import file, low_rank, mixing
from loraloom.adapters.base_weights import BaseWeights, open_base
from loraloom.adapters.state import AdapterState
from loraloom.adapters.weights import BoftWeights, LoraWeights, OftWeights, Weights
from loraloom.errors import AdapterEditInvalid, BaseUnknown
from loraloom.generate.session import Generator, Request

PATH = "mid_block.attentions.0.proj_in"


def _lora(rank: int, alpha: float, seed: int, kernel: tuple[int, ...] = ()) -> LoraWeights:
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, 7, *kernel, generator=generator)
    up = torch.randn(9, rank, *[1] * len(kernel), generator=generator)
    return LoraWeights(down, up, alpha)


def _only(state: AdapterState, path: str = PATH) -> Weights:
    return state["unet"][path]


def _truncated(change: Tensor, rank: int) -> tuple[Tensor, float]:
    u, s, v = torch.linalg.svd(change.double().flatten(1), full_matrices=False)
    near = u[:, :rank] @ torch.diag(s[:rank]) @ v[:rank]
    share = float(s[:rank].square().sum() / s.square().sum())
    return near.reshape(change.shape).float(), share


@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_loras_are_joined_exactly(kernel: tuple[int, ...]) -> None:
    one, two = _lora(2, 1.0, 0, kernel), _lora(3, 5.0, 1, kernel)
    joined = mixing.weighted_sum(
        [({"unet": {PATH: one}}, 0.8), ({"unet": {PATH: two, "x": one}}, -0.5)]
    )
    wanted = 0.8 * one.change(None) - 0.5 * two.change(None)
    torch.testing.assert_close(_only(joined.state).change(None), wanted)
    torch.testing.assert_close(_only(joined.state, "x").change(None), -0.5 * one.change(None))
    assert (_only(joined.state).rank, joined.kept) == (5, {})


@pytest.mark.parametrize("kernel", [(), (3, 3)])
def test_a_rank_keeps_the_strongest_part(kernel: tuple[int, ...]) -> None:
    one, two = _lora(2, 1.0, 0, kernel), _lora(3, 5.0, 1, kernel)
    pairs: list[tuple[AdapterState, float]] = [
        ({"unet": {PATH: one}}, 0.8), ({"unet": {PATH: two}}, -0.5)
    ]  # fmt: skip
    joined = mixing.weighted_sum(pairs, rank=2)
    wanted, share = _truncated(0.8 * one.change(None) - 0.5 * two.change(None), 2)
    torch.testing.assert_close(_only(joined.state).change(None), wanted, atol=1e-4, rtol=1e-4)
    assert joined.share == pytest.approx(share, rel=1e-4)
    assert joined.worst == (f"unet.{PATH}", pytest.approx(share, rel=1e-4))


def test_a_rank_that_is_enough_leaves_a_lora_as_it_is() -> None:
    lora = _lora(2, 3.0, 0)
    same = mixing.resized({"unet": {PATH: lora}}, 8)
    torch.testing.assert_close(_only(same.state).change(None), lora.change(None))
    assert same.share == 1.0 and same.kept == {}


def test_wide_weights_are_decomposed_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that fall as those of trained weights do: nearly the whole decomposition's."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 60, generator=generator))[0] for n in (80, 70))
    change = u @ torch.diag(1 / torch.arange(1.0, 61)) @ v.T
    wanted, share = _truncated(change, 8)
    monkeypatch.setattr(low_rank, "_WHOLE", 10)
    near, kept = low_rank.nearest(change, 8)
    torch.testing.assert_close(near.change(None), wanted, atol=1e-4, rtol=1e-3)
    assert kept.share == pytest.approx(share, rel=1e-4)


@pytest.mark.parametrize("kernel", [(), (1, 1)])
def test_turned_weights_become_a_lora(kernel: tuple[int, ...]) -> None:
    base = torch.randn(6, 8, *kernel, generator=torch.Generator().manual_seed(0))
    oft = OftWeights(torch.randn(2, 6, generator=torch.Generator().manual_seed(1)))
    boft = BoftWeights(torch.randn(1, 2, 4, 4), torch.rand(6, 1) + 0.5)
    for weights in (oft, boft):
        change = weights.change(base)
        whole = mixing.resized({"unet": {PATH: weights}}, 6, lambda *_: base)
        torch.testing.assert_close(_only(whole.state).change(base), change, atol=1e-4, rtol=1e-3)
        assert whole.share == pytest.approx(1.0)
        less = mixing.resized({"unet": {PATH: weights}}, 2, lambda *_: base)
        wanted, share = _truncated(change, 2)
        torch.testing.assert_close(_only(less.state).change(base), wanted, atol=1e-4, rtol=1e-3)
        assert less.share == pytest.approx(share, rel=1e-4) and share < 0.99


def test_what_lacks_something_is_refused() -> None:
    oft: AdapterState = {"unet": {PATH: OftWeights(torch.zeros(2, 6))}}
    with pytest.raises(AdapterEditInvalid, match=r"type oft cannot be joined exactly.*--rank"):
        mixing.weighted_sum([(oft, 1.0)])
    with pytest.raises(AdapterEditInvalid, match=r"type oft the weights .* --base"):
        mixing.resized(oft, 4)
    both = [({"unet": {PATH: _lora(1, 1, 0)}}, 1.0), (oft, 1.0)]
    with pytest.raises(AdapterEditInvalid, match=r"type oft cannot be joined exactly"):
        mixing.weighted_sum(both)
    with pytest.raises(AdapterEditInvalid, match=r"adapter of type oft the weights .* --base"):
        mixing.weighted_sum(both, 4)
    wide = LoraWeights(torch.zeros(1, 5), torch.zeros(9, 1), 1.0)
    with pytest.raises(AdapterEditInvalid, match=r"different bases: unet.mid.* \(9, 5\) and \(9"):
        mixing.weighted_sum([({"unet": {PATH: wide}}, 1.0), ({"unet": {PATH: _lora(1, 1, 0)}}, 1)])


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base, and the same with changes of rank 3 on its attention."""
    folder = tmp_path_factory.mktemp("bases")
    base = tiny.save_base(folder / "base")
    tuned = tiny.save_base(folder / "tuned")
    unet = UNet2DConditionModel.from_pretrained(tuned / "unet")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, module in unet.named_modules():
            if name.endswith(("to_q", "to_out.0")):
                high, wide = module.weight.shape
                up = torch.randn(high, 3, generator=generator)
                module.weight += 0.1 * up @ torch.randn(3, wide, generator=generator)
    unet.save_pretrained(tuned / "unet")
    return base, tuned


@pytest.fixture
def opened(bases: tuple[Path, Path]) -> tuple[BaseWeights, BaseWeights]:
    return open_base(bases[0]), open_base(bases[1])


def test_a_difference_of_low_rank_is_found_whole(
    bases: tuple[Path, Path], opened: tuple[BaseWeights, BaseWeights], tmp_path: Path
) -> None:
    found = mixing.difference(*opened, 3, "blocks")
    assert found.share == pytest.approx(1.0, abs=1e-6)
    assert found.state["unet"] and all(
        p.endswith(("to_q", "to_out.0")) for p in found.state["unet"]
    )
    file.write(tmp_path / "x.safetensors", found.state, "kohya", {})
    request = Request("zk person", 1, guidance=3.0, steps=2, width_px=32, height_px=32)
    wanted, plain = (Generator(base).generate([request])[0] for base in reversed(bases))
    ours = Generator(bases[0])
    ours.load_adapter(tmp_path / "x.safetensors", "x")
    drawn = ours.generate([request])[0]
    images = [np.asarray(one, dtype=np.int16) for one in (wanted, drawn, plain)]
    assert np.abs(images[0] - images[1]).max() <= 1 < np.abs(images[0] - images[2]).max()
    less = mixing.difference(*opened, 1, "blocks")
    assert 0.3 < less.share < 0.99


def test_bases_that_have_no_difference_are_refused(
    bases: tuple[Path, Path], opened: tuple[BaseWeights, BaseWeights], tmp_path: Path
) -> None:
    with pytest.raises(AdapterEditInvalid, match="do not differ"):
        mixing.difference(opened[0], opened[0], 3, "full")
    with pytest.raises(AdapterEditInvalid, match="only bases of one build"):
        mixing.difference(opened[0], open_base("starter"), 3, "attention")
    for path in (bases[0] / "unet").glob("*.safetensors"):
        path.rename(path.with_suffix(".hidden"))
    try:
        with pytest.raises(BaseUnknown, match=r"holds no .safetensors file"):
            open_base(bases[0])
    finally:
        for path in (bases[0] / "unet").glob("*.hidden"):
            path.rename(path.with_suffix(".safetensors"))


def test_weights_are_those_that_diffusers_loads(opened: tuple[BaseWeights, BaseWeights]) -> None:
    unet = UNet2DConditionModel.from_pretrained(opened[0].base / "unet")
    own = {
        p: m.weight for p, m in unet.named_modules() if hasattr(m, "weight") and m.weight.ndim > 1
    }
    assert opened[0].shapes["unet"] == {path: tuple(w.shape) for path, w in own.items()}
    assert all(torch.equal(opened[0].weight("unet", path), weight) for path, weight in own.items())
