"""A base of two denoisers: a run trains one, in its own range of times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests import tiny, tiny_families

from loraloom import families
from loraloom.errors import BaseUnknown, ConfigInvalid
from loraloom.families.info import BaseProfile
from loraloom.families.parts import Parts
from loraloom.train.objective import Flow, Shift
from loraloom.train.recipe import fill
from loraloom.train.setup import prepare


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_families.save("wan22", tmp_path_factory.mktemp("wan22"))


@pytest.mark.parametrize(
    ("expert", "folder", "within"),
    [("high_noise", "transformer", (0.875, 1.0)), ("low_noise", "transformer_2", (0.0, 0.875))],
)
def test_an_expert_is_its_own_folder_and_range(
    base: Path, expert: str, folder: str, within: tuple[float, float]
) -> None:
    family = families.detect(base).expert(expert)
    assert family.info.folders["denoiser"] == folder
    assert family.info.components["denoiser"] == "transformer"  # in files, as diffusers reads them
    assert family.times(family.load(base, only=("scheduler",))) == within
    profile = family.profile(base)
    words = expert.replace("_", "-")
    assert profile.architecture == f"wan-2.2-a14b-{words}/lora"
    assert profile.architecture in families.get("wan22").info.architectures


def test_a_base_of_one_denoiser_is_another_family(base: Path) -> None:
    index = json.loads((base / "model_index.json").read_text())
    assert families.get("wan22").matches(base, index)
    assert not families.get("wan").matches(base, index)
    one = {**index, "transformer_2": [None, None]}
    assert families.get("wan").matches(base, one) and not families.get("wan22").matches(base, one)


def test_a_run_says_that_the_other_expert_is_to_be_trained_too(base: Path, tmp_path: Path) -> None:
    pictures = tiny.save_pictures(tmp_path / "set", 2)
    setup = prepare(tiny.config(base, pictures, expert="low_noise"), tmp_path / "out")
    (told,) = [w.message for w in setup.warnings if "expert" in w.message]
    assert "trains the expert low_noise" in told and "expert = high_noise trains the other" in told
    assert tiny.config(base, pictures).expert == "high_noise"


@pytest.mark.parametrize("family", ["wan", "sd3"])
def test_experts_of_a_base_that_has_none_are_refused(family: str) -> None:
    given = {"data": {"folder": "p"}, "expert": "low_noise"}
    with pytest.raises(ConfigInvalid, match=r"expert = 'low_noise' has no effect on"):
        fill(given, families.get(family).info, BaseProfile("Tiny", 32, 16, 2.0), 20)


def test_a_base_that_tells_no_boundary_is_refused() -> None:
    family = families.get("wan22").expert("low_noise")
    with pytest.raises(BaseUnknown, match=r"no boundary_ratio"):
        family.times(Parts())


@pytest.mark.parametrize("times", ["uniform", "logit_normal"])
def test_times_are_those_of_the_whole_that_lie_within(times: str) -> None:
    """Drawing within a range is drawing from all, and leaving out what lies elsewhere."""
    shift = Shift((3.0, 3.0))
    everything = Flow(times, 0.3, 1.2, shift).draw(0.0, 200_000, 1)
    within = Flow(times, 0.3, 1.2, shift, within=(0.6, 0.9)).draw(0.0, 1000, 1)
    inside = everything[(everything >= 0.6) & (everything <= 0.9)].sort().values
    assert within.min() >= 0.6 and within.max() <= 0.9
    for share in (0.1, 0.5, 0.9):
        wanted = inside[int(share * len(inside))]
        torch.testing.assert_close(
            within.sort().values[int(share * 1000)], wanted, atol=1e-3, rtol=0
        )
    nearest = Flow(times, 0.0, 1.0, shift, within=(0.6, 0.9)).nearest([0.0, 0.5, 1.0])
    torch.testing.assert_close(nearest, torch.tensor([0.6, 0.75, 0.9]))
