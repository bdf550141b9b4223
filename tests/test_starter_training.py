"""What trains the starter base: the optimiser, the clock that resumes, the timesteps."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from loraloom.starter.training import progress
from loraloom.starter.training.denoiser import SCHEDULER, Latents, timesteps, v_loss
from loraloom.starter.training.muon import Muon, muon_and_adamw, orthogonal
from loraloom.starter.training.progress import Stage


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (32, 32)])
def test_orthogonal_keeps_the_singular_vectors_and_levels_the_values(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    levelled = u.T @ orthogonal(matrix) @ vt.T
    values = levelled.diagonal()
    assert values.min() > 0.5
    assert values.max() < 1.3
    assert (levelled - torch.diag(values)).abs().max() < 0.1


def test_muon_fits_a_convolution_to_another() -> None:
    torch.manual_seed(0)
    wanted, conv = nn.Conv2d(8, 40, 3, bias=False), nn.Conv2d(8, 40, 3, bias=False)
    optimiser = Muon(conv.parameters(), lr=0.01)
    losses = []
    for _ in range(150):
        x = torch.randn(8, 8, 6, 6)
        loss = nn.functional.mse_loss(conv(x), wanted(x))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 20


def test_ends_vectors_and_frozen_weights_are_not_muons() -> None:
    net = nn.ModuleDict(
        {
            "first": nn.Linear(4, 4),
            "inside": nn.Linear(4, 4),
            "frozen": nn.Linear(4, 4).requires_grad_(False),
        }
    )
    muon, adamw = muon_and_adamw(net, 1e-3, ends=("first",))
    assert muon.param_groups[0]["params"] == [net["inside"].weight]
    assert {id(p) for p in adamw.param_groups[0]["params"]} == {
        id(p) for p in (net["first"].weight, net["first"].bias, net["inside"].bias)
    }


def stage_of(path: Path, net: nn.Module, minutes: float = 1.0) -> Stage:
    return Stage(path, net, muon_and_adamw(net, 1e-2), minutes=minutes, rate=1e-2)


def descend(stage: Stage, net: nn.Module, steps: int) -> None:
    for step in islice(stage.steps(), steps):
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        stage.descend(net(x).square().mean())


def test_a_stage_goes_on_where_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: 0.0)

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(6, 6)

    undisturbed, killed, resumed = fresh(), fresh(), nn.Linear(6, 6)
    descend(stage_of(tmp_path / "a.pt", undisturbed), undisturbed, 12)
    descend(stage_of(tmp_path / "b.pt", killed), killed, 7)  # the seventh is not saved
    stage = stage_of(tmp_path / "b.pt", resumed)
    assert stage.step == 6
    descend(stage, resumed, 6)
    assert torch.equal(resumed.weight, undisturbed.weight)


def test_a_stage_ends_when_its_minutes_are_used_and_pauses_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    net = nn.Linear(6, 6)
    stage = stage_of(tmp_path / "net.pt", net, minutes=1.0)
    steps = 0
    for _ in stage.steps():
        now += 3600.0 if steps == 2 else 4.0  # the machine slept in step 2
        steps += 1
    assert steps == 15  # 14 x 4 s + the 5 s that a sleep counts for
    assert (tmp_path / "net.pt").exists()


def test_timesteps_come_one_from_each_share_of_a_logit_normal() -> None:
    drawn = timesteps(1000, 1000, torch.Generator().manual_seed(0))
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    z = torch.logit((drawn + 0.5) / 1000)
    assert z.mean() == pytest.approx(0.2, abs=0.02)
    assert z.std() == pytest.approx(1.4, abs=0.05)
    assert torch.equal(drawn, drawn.sort().values)


def test_the_loss_is_that_of_the_velocity() -> None:
    """A model that knows the clean latents gives v exactly: v = (sqrt(a) x_t - x_0) / sqrt(1-a)."""
    clean = torch.randn(6, 8, 4, 4, generator=torch.Generator().manual_seed(1))
    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod

    class Oracle(nn.Module):
        def forward(self, noisy: torch.Tensor, t: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            a = alphas[t].view(-1, 1, 1, 1)
            velocity: torch.Tensor = (a.sqrt() * noisy - clean) / (1 - a).sqrt()
            return velocity

    loss = v_loss(Oracle(), clean, torch.zeros(6, 77), alphas, torch.Generator().manual_seed(2))  # type: ignore[arg-type]
    assert loss < 1e-6


def test_latents_are_those_of_the_codec_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from loraloom.starter.training import denoiser
    from loraloom.starter.training.codec import build_codec

    torch.manual_seed(0)
    stack = np.random.default_rng(0).integers(0, 256, (70, 128, 128, 3), dtype=np.uint8)
    monkeypatch.setattr(denoiser, "pictures", lambda folder, split: stack)
    codec = build_codec()
    latents = Latents(tmp_path, codec)
    assert len(latents.ready) == 0
    latents.grow(64)
    assert len(latents.ready) == 64
    latents.grow(64)
    assert len(latents.ready) == 70

    pixels = denoiser.to_pixels(stack[60:62])
    with torch.no_grad():
        wanted = codec.encode(pixels).latent_dist.mean
    torch.testing.assert_close(latents.ready[60:62], wanted, rtol=0.05, atol=0.05)
    assert torch.equal(Latents(tmp_path, codec).ready, latents.ready)
