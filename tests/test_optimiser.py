"""Each optimiser against its published rule in float64, and its state over a checkpoint."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from tests import tiny
from torch.optim import Optimizer

from loraloom import families, train
from loraloom.config import OptimiserConfig, ScheduleConfig
from loraloom.errors import ConfigInvalid
from loraloom.families.info import BaseProfile
from loraloom.train import optimiser
from loraloom.train.events import Saved
from loraloom.train.recipe import fill
from loraloom.train.schedule import learning_rate_factor, set_learning_rate

BETAS = {
    "adamw": (0.9, 0.99),
    "adamw8bit": (0.9, 0.99),
    "adafactor": None,
    "prodigy": (0.9, 0.99),
    "lion": (0.9, 0.99),
    "came": (0.9, 0.999, 0.9999),
    "schedulefree": (0.9, 0.999),
}
bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes"
)
ALL = [pytest.param(name, marks=bitsandbytes if name == "adamw8bit" else ()) for name in BETAS]
START = np.array([[0.5, -0.2, 0.1], [0.3, 0.4, -0.6]])
RATE, DECAY = 0.01, 0.1


def _config(name: str) -> OptimiserConfig:
    given = {"name": name, "learning_rate": RATE, "weight_decay": DECAY, "betas": BETAS[name]}
    return OptimiserConfig.model_validate(given)


def _gradient(step: int) -> np.ndarray:
    return np.random.default_rng(step).normal(size=START.shape)


def _run(name: str, steps: int) -> tuple[Optimizer, torch.nn.Parameter]:
    weight = torch.nn.Parameter(torch.from_numpy(START.copy()))
    made = optimiser.build([([weight], RATE)], _config(name))
    for step in range(1, steps + 1):
        weight.grad = torch.from_numpy(_gradient(step))
        made.step()
    return made, weight


def _adamw(steps: int) -> np.ndarray:
    """Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithm 2."""
    w, m, v = START.copy(), np.zeros_like(START), np.zeros_like(START)
    for t in range(1, steps + 1):
        g = _gradient(t)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        w -= RATE * DECAY * w
        w -= RATE * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
    return w


def _lion(steps: int) -> np.ndarray:
    """Chen et al. 2023 (arXiv:2302.06675), algorithm 2."""
    w, m = START.copy(), np.zeros_like(START)
    for t in range(1, steps + 1):
        g = _gradient(t)
        w -= RATE * (np.sign(0.9 * m + 0.1 * g) + DECAY * w)
        m = 0.99 * m + 0.01 * g
    return w


def _adafactor(steps: int) -> np.ndarray:
    """Shazeer & Stern 2018 (arXiv:1804.04235), algorithm 4, with a given rate in place of the
    relative one."""
    w, r, c = START.copy(), np.zeros(2), np.zeros(3)
    for t in range(1, steps + 1):
        g = _gradient(t)
        beta = min(0.999, 1 - t**-0.8)
        square = g**2 + 1e-30
        r = beta * r + (1 - beta) * square.mean(1)
        c = beta * c + (1 - beta) * square.mean(0)
        update = g / np.sqrt(np.outer(r, c) / r.mean())
        update /= max(1, np.sqrt((update**2).mean()))
        w -= RATE * DECAY * w
        w -= RATE * update
    return w


def _came(steps: int) -> np.ndarray:
    """Luo et al. 2023 (arXiv:2307.02047), algorithm 2."""
    w, m = START.copy(), np.zeros_like(START)
    r, c, rr, cc = np.zeros(2), np.zeros(3), np.zeros(2), np.zeros(3)
    for t in range(1, steps + 1):
        g = _gradient(t)
        square = g**2 + 1e-30
        r, c = 0.999 * r + 0.001 * square.mean(1), 0.999 * c + 0.001 * square.mean(0)
        update = g / np.sqrt(np.outer(r, c) / r.mean())
        update /= max(1, np.sqrt((update**2).mean()))
        m = 0.9 * m + 0.1 * update
        doubt = (update - m) ** 2 + 1e-16
        rr, cc = 0.9999 * rr + 0.0001 * doubt.mean(1), 0.9999 * cc + 0.0001 * doubt.mean(0)
        w -= RATE * DECAY * w
        w -= RATE * m / np.sqrt(np.outer(rr, cc) / rr.mean())
    return w


def _schedulefree(steps: int) -> np.ndarray:
    """Defazio et al. 2024 (arXiv:2405.15682), algorithm 1: the average x."""
    x, z, v = START.copy(), START.copy(), np.zeros_like(START)
    for t in range(1, steps + 1):
        y = 0.1 * z + 0.9 * x
        g = _gradient(t)
        v = 0.999 * v + 0.001 * g**2
        g = g / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + DECAY * y
        z = z - RATE * g
        x = (1 - 1 / t) * x + z / t
    return x


def _prodigy(steps: int) -> np.ndarray:
    """Mishchenko & Defazio 2023 (arXiv:2306.06101), algorithm 4, with the bias correction and the
    decay of its authors' code."""
    w, m, v, s = (START.copy(), *(np.zeros_like(START) for _ in range(3)))
    d = d0 = 1e-6
    numerator, beta3 = 0.0, math.sqrt(0.99)
    for t in range(1, steps + 1):
        g = _gradient(t)
        rate = d * RATE * math.sqrt(1 - 0.99**t) / (1 - 0.9**t)
        numerator = beta3 * numerator + d / d0 * rate * (g * (START - w)).sum()
        m, v = 0.9 * m + 0.1 * d * g, 0.99 * v + 0.01 * d**2 * g**2
        s = beta3 * s + d / d0 * d * g
        d = max(d, numerator / np.abs(s).sum())
        rate = d * RATE * math.sqrt(1 - 0.99**t) / (1 - 0.9**t)
        w -= rate * DECAY * w
        w -= rate * m / (np.sqrt(v) + d * 1e-8)
    return w


@pytest.mark.parametrize(
    ("name", "rule"),
    [("adamw", _adamw), ("lion", _lion), ("adafactor", _adafactor), ("came", _came),
     ("schedulefree", _schedulefree), ("prodigy", _prodigy)],
)  # fmt: skip
def test_it_follows_its_published_rule(name: str, rule: Callable[[int], np.ndarray]) -> None:
    made, weight = _run(name, 6)
    with optimiser.averaged(made):
        found = weight.detach().numpy().copy()
    np.testing.assert_allclose(found - START, rule(6) - START, rtol=2e-4, atol=1e-9)


@bitsandbytes
def test_eight_bits_are_near_thirty_two() -> None:
    weight = torch.nn.Parameter(torch.zeros(64, 128))
    made = optimiser.build([([weight], RATE)], _config("adamw8bit"))
    exact = torch.nn.Parameter(torch.zeros(64, 128))
    other = optimiser.build([([exact], RATE)], _config("adamw"))
    for _ in range(5):
        weight.grad = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
        exact.grad = weight.grad.clone()
        made.step()
        other.step()
    assert {t.dtype for t in made.state[weight].values() if isinstance(t, torch.Tensor)} >= {
        torch.uint8
    }
    assert (weight - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_eight_bits_without_the_library_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimiser, "find_spec", lambda _: None)
    with pytest.raises(ConfigInvalid, match=r"needs the package bitsandbytes, .* pip install"):
        optimiser.check(_config("adamw8bit"))
    optimiser.check(_config("adamw"))


@pytest.mark.parametrize("name", ALL)
def test_the_state_comes_back_to_the_bit(name: str) -> None:
    weights = {0: torch.nn.Parameter(torch.zeros(64, 128)), 1: torch.nn.Parameter(torch.ones(9, 4))}

    def step(made: Optimizer, held: dict[int, torch.nn.Parameter], numbers: range) -> None:
        for number in numbers:
            set_learning_rate(made, ScheduleConfig(steps=9, warmup_steps=3, name="constant"), 2)
            for weight in held.values():
                generator = torch.Generator().manual_seed(number)
                weight.grad = torch.randn(weight.shape, generator=generator)
            made.step()
            with optimiser.averaged(made):
                pass

    made = optimiser.build([([w], RATE) for w in weights.values()], _config(name))
    step(made, weights, range(3))
    kept = load(save(optimiser.state_tensors(made)))
    others = {n: torch.nn.Parameter(w.detach().clone()) for n, w in weights.items()}
    again = optimiser.build([([w], RATE) for w in others.values()], _config(name))
    optimiser.restore(again, kept)
    step(made, weights, range(3, 6))
    step(again, others, range(3, 6))
    for number, weight in weights.items():
        assert torch.equal(weight, others[number])


@pytest.mark.each_time("prodigy", "schedulefree")
@pytest.mark.parametrize("name", ALL)
def test_a_run_goes_on_to_the_same_bytes(tmp_path: Path, name: str) -> None:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures")
    config = tiny.config(
        base, pictures, schedule={"steps": 4, "warmup_steps": 1}, text_encoder={"ratio": 0.5},
        optimiser={"name": name, "learning_rate": 1.0 if name == "prodigy" else 1e-2},
        validation={"every_steps": 2}, checkpoint={"every_steps": 1},
    )  # fmt: skip
    list(train.run(config, tmp_path / "whole"))
    events = train.run(config, tmp_path / "stopped")
    for event in events:
        if isinstance(event, Saved) and event.step == 3:
            break
    events.close()  # type: ignore[attr-defined]
    list(train.run(config, tmp_path / "stopped", resume=True))
    for file in ("adapter.safetensors", "adapters/step-000002.safetensors"):
        assert (tmp_path / "stopped" / file).read_bytes() == (
            tmp_path / "whole" / file
        ).read_bytes()


def test_courses_of_the_rate() -> None:
    def course(**given: object) -> list[float]:
        schedule = ScheduleConfig.model_validate({"steps": 10, "warmup_steps": 2, **given})
        return [learning_rate_factor(schedule, step) for step in range(1, 11)]

    done = np.arange(8) / 8
    expected = {
        "constant": np.ones(8),
        "linear": 1 - done,
        "cosine": (1 + np.cos(np.pi * done)) / 2,
        "polynomial": (1 - done) ** 3,
        "cosine_restarts": np.tile((1 + np.cos(np.pi * np.arange(4) / 4)) / 2, 2),
    }
    for name, wanted in expected.items():
        more = {"polynomial": {"power": 3.0}, "cosine_restarts": {"cycles": 2}}.get(name, {})
        np.testing.assert_allclose(course(name=name, **more), [0.5, 1, *wanted], atol=1e-12)


def _fill(**overrides: object) -> object:
    info = families.get("sd15").info
    given = {"data": {"folder": "pictures"}, **overrides}
    return fill(given, info, BaseProfile("Any", 512, 64, 2.0), 20)


@pytest.mark.parametrize(
    ("optimiser_", "rate", "text_rate", "course"),
    [
        ({"name": "lion"}, 2e-5, 1e-5, "cosine"),
        ({"name": "prodigy"}, 1.0, 1.0, "cosine"),
        ({"name": "prodigy", "learning_rate": 0.5}, 0.5, 0.5, "cosine"),
        ({"name": "schedulefree"}, 1e-4, 5e-5, "constant"),
        ({"name": "lion", "learning_rate": 3e-4}, 3e-4, 1e-5, "cosine"),
    ],
)
def test_defaults_follow_the_optimiser(
    optimiser_: dict[str, object], rate: float, text_rate: float, course: str
) -> None:
    config = _fill(optimiser=optimiser_)
    assert config.optimiser.learning_rate == pytest.approx(rate)  # type: ignore[attr-defined]
    assert config.text_encoder.learning_rate == pytest.approx(text_rate)  # type: ignore[attr-defined]
    assert config.schedule.name == course  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimiser": {"name": "adafactor", "betas": [0.9, 0.99]}},
         r'optimiser.betas = \[0.9, 0.99\] has no effect with optimiser.name = "adafactor"; leave'),
        ({"optimiser": {"name": "came", "betas": [0.9, 0.99]}}, "came takes 3 numbers"),
        ({"optimiser": {"name": "schedulefree"}, "schedule": {"name": "cosine"}},
         r'schedule.name = "cosine" has no effect with optimiser.name = "schedulefree", which'),
        ({"schedule": {"power": 2.0}}, 'schedule.power = 2.0 has no effect without schedule.name'),
        ({"schedule": {"cycles": 2}}, 'schedule.cycles = 2 has no effect without schedule.name'),
        ({"optimiser": {"name": "prodigy"}, "text_encoder": {"learning_rate": 0.1}},
         "text_encoder.learning_rate = 0.1 is not possible: prodigy finds one rate for all"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        _fill(**given)
