"""A base in fewer bits: how exact, how small, and a run on it that leaves an ordinary adapter."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests import tiny, tiny_families
from torch import Tensor, nn

from loraloom import families, train
from loraloom.config import AdapterConfig, Quantisation
from loraloom.errors import ConfigInvalid
from loraloom.families.base import Condition
from loraloom.generate.session import Generator
from loraloom.train import lora, quantised
from loraloom.train.quantised import QuantisedLinear
from loraloom.train.setup import prepare
from loraloom.train.streams import stream

CHOICES: dict[Quantisation, tuple[float, float]] = {
    # Relative error of normal weights, and bytes for each, worked out by hand.
    "int8": (0.0073, 1.0),  # steps of max / 127, over sqrt 12; of 512, the max is 3.2 sigma
    "fp8": (0.0245, 1.0),  # steps of an eighth, over sqrt 12, where x^2 is 7/3 in the mean
    "nf4": (0.0915, 0.5 + 4 / 64),  # of the paper's sixteen values and blocks
}
TYPES: dict[str, dict[str, Any]] = {
    "lora": {"rank": 4, "alpha": 4.0},
    "pissa": {"rank": 4, "alpha": 4.0, "init": "pissa"},
    "dora": {"rank": 4, "alpha": 4.0},
    "loha": {"rank": 4, "alpha": 4.0},
    "lokr": {"rank": 4, "alpha": 4.0},
    "oft": {"block_size": 4},
    "boft": {"block_size": 4},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny base of a family."""
    return cache(lambda name: tiny_families.save(name, tmp_path_factory.mktemp(name)))


def _layer(dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(0)
    linear = nn.Linear(512, 384, dtype=dtype).requires_grad_(False)
    nn.init.normal_(linear.weight, std=0.02)
    return linear


def _error(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_layer_is_as_exact_and_as_small_as_its_format(
    choice: Quantisation, dtype: torch.dtype
) -> None:
    pytest.importorskip("bitsandbytes") if choice == "nf4" else None
    plain = _layer(dtype)
    layer = QuantisedLinear(plain, choice, "cpu")
    expected, size = CHOICES[choice]
    assert _error(layer.weight, plain.weight) == pytest.approx(expected, rel=0.15)
    scales = 384 * dtype.itemsize if choice != "nf4" else 0
    assert layer.codes.nbytes == size * 384 * 512 + scales
    x = torch.randn(3, 512, dtype=dtype, requires_grad=True)
    y = layer(x)
    given = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, x, given)
    weight = layer.weight.double()
    bound = 2e-2 if dtype == torch.bfloat16 else 1e-5
    close = {"rtol": bound, "atol": bound}
    torch.testing.assert_close(y.double(), x.double() @ weight.T + plain.bias.double(), **close)
    torch.testing.assert_close(gradient.double(), given.double() @ weight, **close)


def test_codes_of_int8_and_fp8() -> None:
    """A row is scaled to its own largest value; zero rows and infinitely small ones stay zero."""
    linear = nn.Linear(4, 3, bias=False)
    linear.weight.data = torch.tensor([[127, -63.4, 0.6, 1], [0, 0, 0, 0], [2.0, -1, 0.5, 0.1]])
    eight = QuantisedLinear(linear, "int8", "cpu").weight
    torch.testing.assert_close(eight[0], torch.tensor([127.0, -63, 1, 1]))
    assert not eight[1].any()
    step = 2 / 127
    torch.testing.assert_close(eight[2], torch.tensor([127, -64, 32, 6]) * step)
    # e4m3: 448 is the largest; three bits of mantissa, so 0.1 x 224 = 22.4 becomes 22.
    floating = QuantisedLinear(linear, "fp8", "cpu").weight
    torch.testing.assert_close(floating[2], torch.tensor([448, -224, 112, 22]) / 224)


def _gradients(
    base: Path, adapter: AdapterConfig, choice: Quantisation, dtype: torch.dtype, width: int
) -> Tensor:
    """All of an adapter's gradients in one step on noise."""
    family = families.detect(str(base))
    parts = quantised.load(
        family, base, ["denoiser"], dtype=dtype, device="cpu", quantisation=choice
    )
    denoiser = parts.denoiser
    weights = lora.inject(denoiser, adapter, family.info.targets["blocks"], stream(0))
    generator = torch.Generator().manual_seed(1)
    for name, weight in weights.trained.items():
        if "lora_B" in name or not bool(weight.any()):
            weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    texts = family.text_shapes(denoiser.config)
    made = {n: torch.randn(shape, generator=generator) for n, shape in texts.items()}
    condition = {n: t.to(dtype) for n, t in family.collate([Condition(made)] * 2).items()}
    x_t = torch.randn(2, width, 8, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = family.predict(denoiser, x_t.to(dtype), torch.full((2,), 0.5), condition)
    (output.float() - torch.randn(output.shape, generator=generator)).square().mean().backward()
    gradients = [w.grad for w in weights.trained.values()]
    return torch.cat([g.flatten() for g in gradients if g is not None])


@pytest.mark.parametrize("kind", TYPES)
def test_adapters_learn_nearly_the_same(kind: str, saved: Callable[[str], Path]) -> None:
    """Each type on a base of int8: within 3 % of what it learns on the base itself.

    PiSSA begins at the base's singular vectors, which of random weights lie close together and
    turn with a small change.
    """
    base = saved("sd15")
    type_: Any = "lora" if kind == "pissa" else kind
    adapter = AdapterConfig(type=type_, **TYPES[kind])
    exact = _gradients(base, adapter, "none", torch.float32, 4)
    found = _gradients(base, adapter, "int8", torch.float32, 4)
    assert 0 < _error(found, exact) < (0.3 if kind == "pissa" else 0.03)


@pytest.mark.parametrize(("choice", "bound"), [("int8", 0.03), ("fp8", 0.1), ("nf4", 0.4)])
def test_gradients_on_a_transformer(
    choice: Quantisation, bound: float, saved: Callable[[str], Path]
) -> None:
    pytest.importorskip("bitsandbytes") if choice == "nf4" else None
    base, adapter = saved("flux"), AdapterConfig(rank=4, alpha=4.0)
    exact = _gradients(base, adapter, "none", torch.float32, 4)
    assert 0 < _error(_gradients(base, adapter, choice, torch.float32, 4), exact) < bound
    half = _gradients(base, adapter, choice, torch.bfloat16, 4)
    assert _error(half, exact) < bound + 0.05


def _held(model: nn.Module) -> int:
    plain = [*model.parameters(), *model.buffers()]
    packed = [m.codes.nbytes for m in model.modules() if isinstance(m, QuantisedLinear)]
    return sum(t.nbytes for t in plain) + sum(packed)


@pytest.mark.parametrize("name", ["sd15", "flux", "wan", "z_image", "qwen_image", "kolors"])
def test_what_a_base_will_take_is_known_from_its_shapes(
    name: str, saved: Callable[[str], Path]
) -> None:
    """What each quantised part saves, counted before and after: of two bytes a weight nearly one.

    Only what is saved, since Wan keeps some weights outside of its blocks in float32.
    """
    base = saved(name)
    family = families.detect(str(base))
    names = quantised.quantised_parts(family.info)
    parts = family.load(base, only=names, dtype=torch.bfloat16)
    for part in names:
        model = getattr(parts, part)
        shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
        before = _held(model)
        linear = sum(m.weight.numel() for m in model.modules() if type(m) is nn.Linear)
        assert quantised.quantise(model, "int8", "cpu") > 0
        left = sum(m.weight.numel() for m in model.modules() if type(m) is nn.Linear)
        saved_bytes = before - _held(model)
        counted = {
            choice: quantised.held_bytes(shapes, choice, torch.bfloat16)
            for choice in ("none", "int8")
        }
        assert saved_bytes == counted["none"] - counted["int8"]
        assert saved_bytes == pytest.approx(linear - left, rel=0.15)


def test_large_text_encoders_are_quantised_and_small_ones_are_not() -> None:
    parts = {name: quantised.quantised_parts(families.get(name).info) for name in ("sdxl", "sd3")}
    assert parts == {"sdxl": ("denoiser",), "sd3": ("denoiser", "text_encoder_3")}
    assert quantised.quantised_parts(families.get("flux").info) == ("denoiser", "text_encoder_2")


def test_what_cannot_be_done_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.save_base(tmp_path / "base")
    config = tiny.config(base, tiny.save_pictures(tmp_path / "p"), quantisation="nf4")
    monkeypatch.setattr(quantised, "find_spec", lambda _: None)
    with pytest.raises(ConfigInvalid, match=r'pip install "loraloom\[quantised\]", or take int8'):
        prepare(config, tmp_path / "run")

    def missing(*_: object) -> None:
        raise RuntimeError("no kernel for this card")

    monkeypatch.setattr(quantised, "_Scaled", missing)
    message = r'"fp8" cannot be done on this device \(cpu\): no kernel.*\. Take int8, or none'
    with pytest.raises(ConfigInvalid, match=message):
        quantised.check("fp8", "cpu")


def test_a_run_resumes_exactly_and_leaves_an_ordinary_adapter(
    tmp_path: Path, saved: Callable[[str], Path]
) -> None:
    """Samples, validation, a stop and a trained text encoder beside the quantised denoiser and
    T5; the base's files stay as they are, and the adapter loads on the base itself."""
    base = saved("flux")
    before = {p: p.read_bytes() for p in base.rglob("*") if p.is_file()}
    pictures = tiny.save_pictures(tmp_path / "p", 4)
    more: dict[str, Any] = {
        "quantisation": "int8", "text_encoder": {"ratio": 0.5}, "schedule": {"steps": 4},
        "samples": {"prompts": ["zk person"], "every_steps": 2, "steps": 2},
    }  # fmt: skip
    config = tiny.config(base, pictures, **more)
    events = list(train.run(config, tmp_path / "whole"))
    assert (tmp_path / "whole/samples/step-000002-0.png").is_file()
    part = train.run(config, tmp_path / "parted")
    for event in part:
        if type(event).__name__ == "Saved":
            break
    part.close()
    list(train.run(config, tmp_path / "parted", resume=True))
    whole = load_file(tmp_path / "whole/adapter.safetensors")
    parted = load_file(tmp_path / "parted/adapter.safetensors")
    assert whole.keys() == parted.keys()
    assert all(torch.equal(parted[name], tensor) for name, tensor in whole.items())
    assert {p: p.read_bytes() for p in base.rglob("*") if p.is_file()} == before

    plain = tiny.config(base, pictures, **{**more, "quantisation": "none"})
    losses = [e.loss for e in events if type(e).__name__ == "Step"]
    others = [e.loss for e in train.run(plain, tmp_path / "plain") if type(e).__name__ == "Step"]
    assert losses != others and losses == pytest.approx(others, rel=0.02)
    generator = Generator(base)
    generator.load_adapter(tmp_path / "whole/adapter.safetensors", "learnt")
    assert generator.adapters == ("learnt",)
