"""Weights and losses against the published formulas, computed anew in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests import tiny
from tests.test_objective import _published_alphas

from loraloom.config import ObjectiveConfig
from loraloom.errors import ConfigInvalid
from loraloom.train import batches, loss, model
from loraloom.train.cache import TensorCache
from loraloom.train.forward import batch_loss
from loraloom.train.inputs import prepare as prepare_inputs
from loraloom.train.objective import Diffusion, Flow, Shift, objective_of, zero_terminal_snr
from loraloom.train.setup import prepare
from loraloom.train.streams import stream, uniform

INDEX = np.array([0, 10, 200, 500, 999])


def _diffusion(prediction: str, **given: object) -> Diffusion:
    config = ObjectiveConfig.model_validate({"noise_offset": 0.0, **given})
    found = objective_of(tiny.scheduler(prediction), config)
    assert isinstance(found, Diffusion)
    return found


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_debiased_weights(prediction: str) -> None:
    """Yu et al. 2023, eq. 9: 1 / sqrt(SNR) for epsilon; v's error is (SNR + 1) / SNR times that."""
    abar = _published_alphas()[INDEX]
    snr = abar / (1 - abar)
    wanted = snr**-0.5 * (1 if prediction == "epsilon" else snr / (snr + 1))
    found = _diffusion(prediction, debiased=True).weight(torch.from_numpy(INDEX / 999).float())
    np.testing.assert_allclose(found, wanted, rtol=2e-4)


def test_noise_ratios() -> None:
    abar = _published_alphas()[INDEX]
    t = torch.from_numpy(INDEX / 999).float()
    found = _diffusion("epsilon").noise_ratio(t)
    np.testing.assert_allclose(found, np.sqrt((1 - abar) / abar), rtol=2e-4)
    flow = Flow("uniform", 0.0, 1.0, Shift((1.0, 1.0)))
    np.testing.assert_allclose(flow.noise_ratio(torch.tensor([0.2, 0.5])), [0.25, 1.0], rtol=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 3.0, np.inf])
@pytest.mark.parametrize("schedule", ["constant", "snr"])
def test_huber(ratio: float, schedule: str) -> None:
    """Of diffusion and of flow alike: at pure noise, where the ratio is infinite, too."""
    draw = np.random.default_rng(0)
    predicted, wanted = draw.normal(size=(2, 3, 4, 4)), draw.normal(size=(2, 3, 4, 4))
    c = 0.1 if schedule == "constant" else 0.1 + 0.9 / (1 + ratio) ** 2
    expected = (2 * c**2 * (np.sqrt(1 + (predicted - wanted) ** 2 / c**2) - 1)).mean((1, 2, 3))
    config = ObjectiveConfig.model_validate(
        {"loss": "huber", "huber_c": 0.1, "huber_schedule": schedule}
    )
    found = loss.of_pictures(
        config,
        torch.from_numpy(predicted),
        torch.from_numpy(wanted),
        torch.full((2,), ratio),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_huber_is_the_square_of_small_differences_and_linear_in_large_ones() -> None:
    c = torch.tensor(0.1, dtype=torch.float64)
    small, large = torch.tensor([1e-3], dtype=torch.float64), torch.tensor([100.0])
    assert loss.pseudo_huber(small, c).item() == pytest.approx(1e-6, rel=1e-3)
    assert loss.pseudo_huber(large, c).item() == pytest.approx(0.2 * 100 - 0.02, rel=1e-3)


def test_zero_terminal_snr_is_algorithm_1() -> None:
    """Lin et al. 2023: sqrt(abar) shifted to end at 0 and scaled to begin where it did."""
    found = _diffusion("v_prediction")
    rescaled = objective_of(
        zero_terminal_snr(tiny.scheduler("v_prediction")), ObjectiveConfig(noise_offset=0.0)
    )
    assert isinstance(rescaled, Diffusion) and found.alphas_cumprod[-1] > 0
    root = np.sqrt(_published_alphas())
    wanted = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    np.testing.assert_allclose(rescaled.alphas_cumprod, wanted, rtol=1e-3, atol=1e-7)
    assert rescaled.alphas_cumprod[-1] == 0
    x0, noise, last = torch.ones(1, 1), torch.full((1, 1), 2.0), torch.ones(1)
    assert rescaled.add_noise(x0, noise, last).item() == 2
    assert rescaled.target(x0, noise, last).item() == -1
    for weighed in (rescaled, Diffusion(rescaled.alphas_cumprod, "v_prediction", debiased=True)):
        assert weighed.weight(last).isfinite()


def test_zero_terminal_snr_where_it_makes_no_sense(tmp_path: Path) -> None:
    base, pictures = tiny.save_base(tmp_path / "base"), tiny.save_pictures(tmp_path / "p")
    config = tiny.config(base, pictures, objective={"zero_terminal_snr": True})
    with pytest.raises(ConfigInvalid, match="this base predicts epsilon, from which nothing"):
        prepare(config, tmp_path / "out")
    done = zero_terminal_snr(tiny.scheduler("v_prediction"))
    with pytest.raises(ConfigInvalid, match="has no effect: this base is made so already"):
        zero_terminal_snr(done)


@pytest.mark.parametrize(
    "objective",
    [
        {"debiased": True},
        {"loss": "huber", "huber_c": 0.3},
        {"zero_terminal_snr": True, "loss": "huber", "huber_schedule": "constant"},
    ],
)
def test_the_loss_of_a_batch_in_float64(tmp_path: Path, objective: dict[str, object]) -> None:
    base = tiny.save_base(tmp_path / "base", prediction_type="v_prediction")
    config = tiny.config(base, tiny.save_pictures(tmp_path / "p"), objective=objective)
    setup, tensors = prepare(config, tmp_path / "out"), TensorCache(tmp_path / "cache")
    for _ in prepare_inputs(setup, tensors):
        pass
    live = model.load(setup, tensors)
    caught: list[torch.Tensor] = []
    live.parts.denoiser.register_forward_hook(lambda _, __, out: caught.append(out[0].detach()))
    batch, step = setup.examples[:2], 3
    found = batch_loss(setup, live, tensors, batch, step, 0).item()

    abars = _published_alphas()
    if objective.get("zero_terminal_snr"):
        root = np.sqrt(abars)
        abars = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    start = uniform(stream(config.seed, "timesteps", step, 0))
    terms = []
    for place, example in enumerate(batch):
        pick = batches.pick(example, config.data, config.seed, step, place)
        latent = tensors[setup.latent_key(example, pick.mirrored)]
        shape = latent["mean"].shape
        drawn = [torch.randn(shape, generator=pick.generator).double().numpy() for _ in range(2)]
        x0 = latent["mean"].double().numpy() + latent["std"].double().numpy() * drawn[0]
        a = abars[int(((start + place / 2) % 1) * 1000)]
        difference = caught[0][place].double().numpy() - (
            np.sqrt(a) * drawn[1] - np.sqrt(1 - a) * x0
        )
        if objective.get("debiased"):
            terms.append(np.sqrt(a / (1 - a)) * (1 - a) * (difference**2).mean())
            continue
        snr = a / (1 - a)
        c = 0.1
        if objective.get("huber_c"):
            c = 0.3 + 0.7 / (1 + np.sqrt((1 - a) / a)) ** 2
        weight = min(snr, 5) / (snr + 1)
        terms.append(weight * (2 * c * (np.sqrt(difference**2 + c**2) - c)).mean())
    assert found == pytest.approx(float(np.mean(terms)), rel=1e-4)
