from __future__ import annotations

from pathlib import Path

import pytest
from tests import tiny, tiny_families

from loraloom import families, kinds
from loraloom.config import TrainConfig
from loraloom.config_tree import merge
from loraloom.errors import ConfigInvalid
from loraloom.families.info import BaseProfile
from loraloom.train import fit
from loraloom.train.recipe import fill
from loraloom.train.setup import prepare

PROFILE = BaseProfile("Any", 1024, 64, 2.0)
INFOS = {info.id: info for info in families.all_infos()}


def _fill(family: str, **overrides: object) -> TrainConfig:
    given = merge({"data": {"folder": "pictures"}}, overrides)
    return fill(given, INFOS[family], PROFILE, images=20)


@pytest.mark.parametrize("family", sorted(INFOS))
@pytest.mark.parametrize("kind", list(kinds.Kind))
def test_each_familys_defaults_are_complete_and_its_own(family: str, kind: kinds.Kind) -> None:
    config = _fill(family, kind=kind.value)
    own = {name for name, value in config.objective if value is not None}
    assert own == set(fit.belonging(config.objective, INFOS[family]))


@pytest.mark.parametrize(
    ("family", "setting", "message"),
    [
        ("flux", {"objective": {"min_snr_gamma": 5.0}},
         r"^objective.min_snr_gamma = 5.0 has no effect on FLUX.1, which is trained by flow match"),
        ("sd15", {"objective": {"shift": 3.0}}, r"objective.shift = 3.0 .* discrete schedule"),
        ("sd15", {"objective": {"logit_std": 1.0}}, r"objective.logit_std = 1.0 .* discrete sch"),
        ("flux", {"objective": {"times": "uniform", "logit_mean": 0.5}},
         r"objective.logit_mean = 0.5 has no effect with objective.times = .uniform."),
        ("flux", {"clip_skip": 1}, r"clip_skip = 1 has no effect on FLUX.1"),
        ("kolors", {"text_encoder": {"ratio": 0.2}}, r"text_encoder.ratio = 0.2 .* too large"),
        ("sd15", {"adapter": {"type": "oft", "rank": 4}},
         r'^adapter.rank = 4 has no effect with adapter.type = "oft"; leave it out.$'),
        ("sd15", {"adapter": {"type": "boft", "alpha": 4.0}}, r"^adapter.alpha = 4.0 has no effec"),
        ("sd15", {"adapter": {"type": "loha", "rslora": True}}, r"adapter.rslora = True has no ef"),
        ("sd15", {"adapter": {"type": "lokr", "dropout": 0.1}}, r"adapter.dropout = 0.1 has no ef"),
        ("sd15", {"adapter": {"type": "dora", "init": "pissa"}}, r"adapter.init = 'pissa' has no"),
        ("sd15", {"adapter": {"factor": 8}}, r"adapter.factor = 8 .* adapter.type = .lora."),
        ("sd15", {"adapter": {"block_size": 8}}, r"adapter.block_size = 8 .* adapter.type = .lor"),
        ("sd15", {"adapter": {"type": "loha", "plus_ratio": 4.0}}, r"adapter.plus_ratio = 4.0 has"),
        ("wan", {"samples": {"frames": 1}}, r"samples.frames = 1 has no .* without samples"),
    ],
)  # fmt: skip
def test_settings_without_effect_are_refused_by_name(
    family: str, setting: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        _fill(family, **setting)


def test_an_optimiser_of_one_rate_refuses_lora_plus() -> None:
    given: dict[str, object] = {
        "adapter": {"plus_ratio": 16.0}, "optimiser": {"name": "prodigy"},
        "text_encoder": {"ratio": 0.0},
    }  # fmt: skip
    with pytest.raises(ConfigInvalid, match=r"^adapter.plus_ratio = 16.0 is not possible: prodig"):
        _fill("sd15", **given)
    for name in ("adamw", "schedulefree"):
        _fill("sd15", **{**given, "optimiser": {"name": name}})


@pytest.mark.parametrize(("kind", "targets"), [("oft", "blocks"), ("boft", "full")])
def test_an_adapter_without_rank_has_blocks_and_layers_that_it_can_turn(
    kind: str, targets: str
) -> None:
    given = {"data": {"folder": "pictures"}, "adapter": {"type": kind}}
    wide = BaseProfile("Any", 64, 8, 2.0, defaults={"rank": 8, "adapter": {"targets": "full"}})
    adapter = fill(given, INFOS["sd15"], wide, images=20).adapter
    assert (adapter.rank, adapter.alpha, adapter.block_size) == (None, None, 16)
    assert adapter.targets == targets


@pytest.mark.parametrize("name", ["rank", "alpha"])
def test_an_adapter_with_a_rank_needs_it(name: str) -> None:
    config = _fill("sd15")
    adapter = config.adapter.model_copy(update={name: None})
    with pytest.raises(ConfigInvalid, match=rf"^The setting adapter\.{name} is missing\.$"):
        fit.check(config.model_copy(update={"adapter": adapter}), INFOS["sd15"])


def test_learning_rates_compare_by_their_scale() -> None:
    """Rank 16 and alpha 8: 1/2; by the root of the rank 2; what has no rank is not scaled."""
    plain = _fill("sd15", adapter={"rank": 16, "alpha": 8}, optimiser={"learning_rate": 1e-3})
    root = _fill("sd15", adapter={"rank": 16, "alpha": 8, "rslora": True},
                 optimiser={"learning_rate": 1e-3})  # fmt: skip
    turned = _fill("sd15", adapter={"type": "oft"}, optimiser={"learning_rate": 1e-3})
    rates = [config.effective_learning_rate for config in (plain, root, turned)]
    assert rates == pytest.approx([5e-4, 2e-3, 1e-3])


def test_uniform_times_need_no_more() -> None:
    objective = _fill("sd3", objective={"times": "uniform"}).objective
    assert (objective.times, objective.logit_mean, objective.shift) == ("uniform", None, 1.0)


def test_a_config_for_another_base_is_refused_before_training(tmp_path: Path) -> None:
    pictures = tiny.save_pictures(tmp_path / "pictures")
    config = tiny.config(tiny.save_base(tmp_path / "base"), pictures)
    flux = tiny_families.save("flux", tmp_path / "flux")
    other = config.model_copy(update={"base": str(flux)})
    with pytest.raises(
        ConfigInvalid, match=r"min_snr_gamma [\s\S]*noise_offset [\s\S]*times is mis"
    ):
        prepare(other, tmp_path / "out")


@pytest.mark.parametrize(
    ("family", "kind", "images", "steps"),
    [
        # 350 a picture, and 75 above 30 pictures, within 1500 to 4000; styles 3000 to 8000.
        ("sdxl", "character", 10, 3500),
        ("sdxl", "character", 30, 4000),
        ("sdxl", "character", 40, 3000),
        ("sdxl", "style", 60, 4500),
        ("kolors", "character", 10, 3500),
        # 500 and 50 a picture, within 1000 to 3000; styles 2000 to 5000.
        ("flux", "character", 20, 1500),
        ("flux", "character", 5, 1000),
        ("flux", "style", 100, 5000),
        ("sd3", "character", 20, 2000),
    ],
)
def test_steps_of_each_family(family: str, kind: str, images: int, steps: int) -> None:
    given = {"data": {"folder": "pictures"}, "kind": kind}
    assert fill(given, INFOS[family], PROFILE, images).schedule.steps == steps
