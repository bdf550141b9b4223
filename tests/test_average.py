"""An average beside the weights, and checkpointed parts: neither changes what is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests import tiny

from loraloom import train
from loraloom.errors import ConfigInvalid
from loraloom.train import forward, inputs, model
from loraloom.train.average import Average, standing_in
from loraloom.train.cache import TensorCache
from loraloom.train.events import Saved
from loraloom.train.setup import prepare
from loraloom.train.streams import stream


def test_the_average_is_the_recurrence() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    average = Average({"a": weight}, 0.5)
    expected = 0.0
    for step in range(1, 12):
        with torch.no_grad():
            weight.fill_(step)
        average.update({"a": weight}, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.weights["a"].item() == pytest.approx(expected)
    with standing_in({"a": weight}, average.weights):
        assert weight.item() == pytest.approx(expected)
    assert weight.item() == 11


def test_it_stands_beside_the_raw_weights_and_over_a_resume(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    plain = tiny.config(base, pictures)
    averaged = tiny.config(base, pictures, ema_decay=0.9)
    list(train.run(plain, tmp_path / "plain"))
    list(train.run(averaged, tmp_path / "whole"))
    events = train.run(averaged, tmp_path / "stopped")
    while not (isinstance(event := next(events), Saved) and event.step == 4):
        pass
    events.close()  # type: ignore[attr-defined]
    list(train.run(averaged, tmp_path / "stopped", resume=True))

    raw = load_file(tmp_path / "whole/adapter.safetensors")
    assert {k: v.tolist() for k, v in raw.items()} == {
        k: v.tolist() for k, v in load_file(tmp_path / "plain/adapter.safetensors").items()
    }
    smooth = load_file(tmp_path / "whole/adapter-ema.safetensors")
    assert smooth.keys() == raw.keys() and any(not torch.equal(smooth[k], raw[k]) for k in raw)
    for name in ("adapter.safetensors", "adapter-ema.safetensors", "adapters/step-000006-ema.safetensors"):  # noqa: E501  # fmt: skip
        whole, stopped = (tmp_path / run / name for run in ("whole", "stopped"))
        assert whole.read_bytes() == stopped.read_bytes()


def test_schedulefree_averages_by_itself(base: Path, pictures: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"ema_decay = 0.9 has no effect .* averages by itself"):
        tiny.config(base, pictures, ema_decay=0.9, optimiser={"name": "schedulefree"})


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_checkpointed_gradients_are_equal(
    base: Path, pictures: Path, tmp_path: Path, dropout: float
) -> None:
    gradients, calls = [], []
    for checkpointing in (False, True):
        config = tiny.config(
            base, pictures, gradient_checkpointing=checkpointing, adapter={"dropout": dropout}
        )
        setup, tensors = prepare(config, tmp_path / "out"), TensorCache(tmp_path / "cache")
        for _ in inputs.prepare(setup, tensors):
            pass
        live = model.load(setup, tensors)
        for name, weight in live.trained.items():
            torch.nn.init.normal_(weight, std=0.1, generator=stream(1, name))
        count = [0]
        block = live.parts.denoiser.down_blocks[0].attentions[0].transformer_blocks[0]
        block.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        with forward.dropout(setup, live, 3, 0):
            forward.batch_loss(setup, live, tensors, setup.examples[:2], 3, 0).backward()  # type: ignore[no-untyped-call]
        calls.append(len(count) - 1)
        gradients.append({name: weight.grad for name, weight in live.trained.items()})
    assert calls == [1, 2]
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.any()
        torch.testing.assert_close(gradients[1][name], gradient)
