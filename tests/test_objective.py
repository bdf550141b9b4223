"""The loss and its gradients against the published formulas, computed anew in float64."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import tiny

from loraloom.config import ObjectiveConfig
from loraloom.train import batches, model
from loraloom.train.cache import TensorCache
from loraloom.train.forward import batch_loss
from loraloom.train.inputs import prepare as prepare_inputs
from loraloom.train.loss import squared_error
from loraloom.train.objective import Diffusion, objective_of, offset_noise
from loraloom.train.setup import prepare
from loraloom.train.streams import stream, uniform
from loraloom.train.validation import ruler

GAMMA = 5.0


def _published_alphas() -> np.ndarray:
    """SD 1.5: 1000 betas, linear in their square roots from .00085 to .012."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    return np.cumprod(1 - betas)


def _diffusion(prediction: str, gamma: float = GAMMA) -> Diffusion:
    config = ObjectiveConfig(min_snr_gamma=gamma, noise_offset=0.0)
    found = objective_of(tiny.scheduler(prediction), config)
    assert isinstance(found, Diffusion)
    return found


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_schedule_is_the_published_one(prediction: str) -> None:
    schedule = _diffusion(prediction)
    np.testing.assert_allclose(schedule.alphas_cumprod, _published_alphas(), rtol=1e-4)
    assert schedule.prediction_type == prediction


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weights(prediction: str) -> None:
    index = np.array([0, 10, 200, 500, 999])
    abar = _published_alphas()[index]
    snr = abar / (1 - abar)
    wanted = np.minimum(snr, GAMMA) / (snr if prediction == "epsilon" else snr + 1)
    t = torch.from_numpy(index / 999).float()
    np.testing.assert_allclose(_diffusion(prediction).weight(t), wanted, rtol=2e-4)
    assert torch.equal(_diffusion(prediction, 0).weight(t), torch.ones(5))


def test_weights_are_finite_at_zero_terminal_snr() -> None:
    for prediction in ("epsilon", "v_prediction"):
        schedule = Diffusion(torch.tensor([0.9, 0.5, 0.0]), prediction, GAMMA)
        assert schedule.weight(torch.tensor([0.0, 0.5, 1.0])).isfinite().all()


def test_times_are_uniform_and_spread() -> None:
    schedule = _diffusion("epsilon")
    draws = torch.cat([schedule.draw(i / 97, 4, 1) for i in range(97)])
    index = draws * 999
    assert draws.min() >= 0 and draws.max() <= 1
    torch.testing.assert_close(index, index.round(), atol=1e-4, rtol=0)
    assert torch.histc(index, 4, 0, 1000).tolist() == pytest.approx([97] * 4, abs=4)
    assert schedule.draw(0.9999999999, 1, 1).tolist() == [1.0]


def test_offset_noise_shifts_whole_channels() -> None:
    noise = torch.zeros(4, 2, 2)
    shifted = offset_noise(noise, stream(0), 0.1)
    assert torch.equal(shifted, shifted[:, :1, :1].expand(4, 2, 2)) and shifted.std() > 0
    assert offset_noise(noise, stream(0), 0.0) is noise


def test_squared_error_is_per_picture() -> None:
    error = squared_error(torch.tensor([[[[1.0]]], [[[3.0]]]]), torch.zeros(2, 1, 1, 1))
    assert error.tolist() == [1.0, 9.0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_loss_and_gradients_equal_the_formula_in_float64(tmp_path: Path, prediction: str) -> None:
    base = tiny.save_base(tmp_path / "base", prediction_type=prediction)
    pictures = tiny.save_pictures(tmp_path / "pictures")
    config = tiny.config(base, pictures, objective={"min_snr_gamma": GAMMA})
    setup = prepare(config, tmp_path / "out")
    tensors = TensorCache(tmp_path / "cache")
    for _ in prepare_inputs(setup, tensors):
        pass
    live = model.load(setup, tensors)
    for name, weight in live.trained.items():
        if "lora_B" in name:  # zero at the start, which would leave lora_A without gradient
            torch.nn.init.normal_(weight, std=0.1, generator=stream(1, name))
    batch = setup.examples[:2]
    step = 3

    loss = batch_loss(setup, live, tensors, batch, step, 0)
    loss.backward()  # type: ignore[no-untyped-call]

    unet = copy.deepcopy(live.parts.denoiser).double()
    unet.zero_grad()
    start = uniform(stream(config.seed, "timesteps", step, 0))
    abar = torch.from_numpy(_published_alphas())
    terms = []
    for place, example in enumerate(batch):
        pick = batches.pick(example, config.data, config.seed, step, place)
        latent = tensors[setup.latent_key(example, pick.mirrored)]
        shape = latent["mean"].shape
        x0 = latent["mean"].double()
        x0 = x0 + latent["std"].double() * torch.randn(shape, generator=pick.generator).double()
        noise = torch.randn(shape, generator=pick.generator).double()
        t = int(((start + place / 2) % 1) * 1000)
        a = abar[t]
        context = tensors[setup.text_key(pick.caption)]["context"].double()
        x_t = (a.sqrt() * x0 + (1 - a).sqrt() * noise).unsqueeze(0)
        output = unet(x_t, t, encoder_hidden_states=context.unsqueeze(0)).sample[0]
        snr = a / (1 - a)
        if prediction == "epsilon":
            wanted, weight = noise, snr.clamp(max=GAMMA) / snr
        else:
            wanted = a.sqrt() * noise - (1 - a).sqrt() * x0
            weight = snr.clamp(max=GAMMA) / (snr + 1)
        terms.append(weight * (output - wanted).square().mean())
    reference = torch.stack(terms).mean()
    reference.backward()

    assert loss.item() == pytest.approx(reference.item(), rel=1e-5)
    own = {n: p.grad for n, p in live.parts.denoiser.named_parameters() if p.requires_grad}
    other = {n: p.grad for n, p in unet.named_parameters() if p.requires_grad}
    assert own.keys() == other.keys() and len(own) == len(live.trained)
    for name, gradient in own.items():
        assert gradient is not None and other[name] is not None
        difference = (gradient.double() - other[name]).norm() / other[name].norm()
        assert difference < 2e-5, name


def test_the_denoiser_is_asked_at_the_schedulers_timesteps(tmp_path: Path) -> None:
    base = tiny.save_base(tmp_path / "base")
    path = base / "scheduler/scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_train_timesteps": 50}))
    pictures = tiny.save_pictures(tmp_path / "pictures")
    config = tiny.config(base, pictures, validation={"timesteps": [0.0, 1.0]})
    setup = prepare(config, tmp_path / "out")
    tensors = TensorCache(tmp_path / "cache")
    for _ in prepare_inputs(setup, tensors):
        pass
    live = model.load(setup, tensors)
    asked: list[list[int]] = []
    live.parts.denoiser.register_forward_pre_hook(lambda _, given: asked.append(given[1].tolist()))
    batch_loss(setup, live, tensors, setup.examples[:2], 3, 0)
    ruler(setup, live, tensors).measure(live.parts.denoiser, setup.examples[:1])
    start = uniform(stream(config.seed, "timesteps", 3, 0))
    assert asked == [[int((start + place / 2) % 1 * 50) for place in range(2)], [0, 49]]
