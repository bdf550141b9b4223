"""What trains the starter base: the optimiser, the clock that resumes, the timesteps."""

import math
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from loraloom.starter.judge import READS, labels
from loraloom.starter.training import progress
from loraloom.starter.training.denoiser import SCHEDULER, Base, Latents, noised, timesteps
from loraloom.starter.training.emphasis import emphasis
from loraloom.starter.training.muon import Muon, muon_and_adamw, orthogonal
from loraloom.starter.training.naming import Naming, attributes_of, learn_to_name
from loraloom.starter.training.pictures import scene_of
from loraloom.starter.training.progress import Stage
from loraloom.starter.training.showing import errors, train_reader
from loraloom.starter.training.words import build_tokenizer
from loraloom.starter.world.render import render
from loraloom.starter.world.scene import caption, sample_scene, visible


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


def test_the_loss_is_that_of_the_velocity_in_each_cell() -> None:
    clean = torch.randn(6, 8, 4, 4, generator=torch.Generator().manual_seed(1))
    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod
    wrong, cells = torch.zeros(6, 8, 4, 4), torch.ones(6, 1, 4, 4)
    wrong[:, :, 0, 0], cells[:, :, 0, 0] = 0.5, 4.0
    given = noised(clean, alphas, torch.Generator().manual_seed(2))
    a = alphas[given.t].view(-1, 1, 1, 1)
    true = (a.sqrt() * given.noisy - clean) / (
        1 - a
    ).sqrt()  # v = (sqrt(a) x_t - x_0) / sqrt(1 - a)
    assert given.error(true, cells) < 1e-6
    assert given.error(true + wrong, cells).item() == pytest.approx(4.0 * 0.25 / 16, rel=1e-3)
    torch.testing.assert_close(given.guess(true), clean, rtol=1e-3, atol=1e-3)
    assert given.doubt[-1] > 0.9 > 0.1 > given.doubt[0]


def test_emphasis_lies_where_an_attribute_is_drawn() -> None:
    scene = sample_scene(random.Random(0)).with_values(
        subject="woman", framing="close-up", view="front view", accessory="", gesture="",
        style="flat color style", lighting="natural lighting", gaze="looking at viewer",
        background="white background", expression="gentle smile",
    )  # fmt: skip
    weights = emphasis(scene)
    assert weights.mean() == pytest.approx(1.0, abs=1e-5)
    assert weights[0, 0] == weights.min()  # a corner of the wall
    assert weights.max() > 4 * weights.min()
    face = render(scene, 128).astype(int)
    laughing = render(scene.with_values(expression="laughing"), 128).astype(int)
    moved = np.argwhere(np.abs(face - laughing).max(axis=2) > 60) // 8  # cells of the mouth
    assert weights[tuple(moved.T)].mean() > 2 * weights.mean()


def test_naming_reads_any_state_from_the_end_token_on() -> None:
    naming = Naming(8)
    tokens = torch.tensor([[0, 5, 6, 1, 1, 1], [0, 5, 1, 1, 1, 1]])
    context = torch.full((2, 6, 8), float("nan"))
    context[0, 3:], context[1, 2:] = 1.0, 2.0  # only the ends may be read
    wanted = {name: torch.zeros(2, dtype=torch.long) for name in READS}
    for seed in range(20):
        loss = naming(context, tokens, wanted, torch.Generator().manual_seed(seed))
        assert torch.isfinite(loss)


def test_what_is_not_said_is_not_asked() -> None:
    indices = [0, 1]
    asked = attributes_of(indices, [caption(scene_of("base", 0)), ""])
    scene = scene_of("base", 0)
    for name in READS:
        truth = READS[name].index(scene[name]) if visible(scene, name) else -1
        assert asked[name].tolist() == [truth, -1]


@pytest.mark.matrix
def test_the_text_encoder_learns_to_name() -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    base = Base(len(tokenizer), tokenizer.eos_token_id)
    untrained = sum(math.log(len(values)) for values in READS.values())
    assert learn_to_name(base, tokenizer, steps=25) < 0.9 * untrained


def test_latents_are_those_of_the_codec_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.matrix
def test_a_reader_learns_latents_and_tells_a_wrong_guess(tmp_path: Path) -> None:
    count = 64
    rows = [labels(scene_of("base", index)) for index in range(count)]
    wanted = {name: torch.tensor([row[name] for row in rows]) for name in READS}
    generator = torch.Generator().manual_seed(3)
    signs = torch.randn(len(READS["background"]), 8, 1, 1, generator=generator)
    latents = 2 * signs[wanted["background"]].expand(-1, -1, 16, 16).clone()
    reader = train_reader(tmp_path, latents, steps=40)
    read = reader(latents)["background"].argmax(1)
    assert (read == wanted["background"]).float().mean() > 0.9

    only = {name: torch.full_like(v, -1) for name, v in wanted.items()}
    only["background"] = wanted["background"]
    assert errors(reader(latents), only).mean() < errors(reader(latents.flip(0)), only).mean() / 1.5
    again = train_reader(tmp_path, latents)
    assert torch.equal(again(latents)["background"], reader(latents)["background"])
