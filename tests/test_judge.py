"""The judge counts right, and the shipped one reads rendered pictures."""

import random

import pytest

from loraloom.starter.judge import (
    READS,
    Judge,
    agreement,
    bleed,
    labels,
    likeness,
    obedience,
    share,
)
from loraloom.starter.measure import unseen_scenes
from loraloom.starter.world.render import render_image
from loraloom.starter.world.scene import CHARACTERS, Scene, identity_scene, visible

MIRA = CHARACTERS[0]


def _truth(scene: Scene) -> dict[str, str]:
    return {name: scene[name] for name in READS}


@pytest.fixture
def scenes() -> list[Scene]:
    rng = random.Random(5)
    return [identity_scene(MIRA, rng) for _ in range(20)]


def test_a_perfect_picture_scores_one(scenes: list[Scene]) -> None:
    readings = [_truth(scene) for scene in scenes]
    assert likeness(MIRA, scenes, readings) == 1
    assert obedience(scenes, readings) == 1
    assert bleed(MIRA, scenes, readings) == 1


def test_likeness_is_the_mean_over_the_features_of_the_identity(scenes: list[Scene]) -> None:
    readings = [{**_truth(scene), "headpiece": "", "background": "nowhere"} for scene in scenes]
    assert likeness(MIRA, scenes, readings) == pytest.approx(5 / 6)
    assert bleed(MIRA, scenes, readings) == pytest.approx(3 / 4)


def test_only_what_can_be_seen_is_asked(scenes: list[Scene]) -> None:
    readings = [{**_truth(scene), "gaze": "wrong"} for scene in scenes]
    seen = sum(visible(scene, "gaze") for scene in scenes)
    assert agreement(scenes, readings, ["gaze"]) == {"gaze": (0, seen)}
    assert labels(scenes[0].with_values(framing="full body"))["gaze"] == -1


def test_the_share_is_a_mean_of_attributes_and_leaves_out_what_was_not_asked() -> None:
    assert share({"a": (1, 1), "b": (1, 4), "c": (0, 0)}) == pytest.approx(0.625)


def test_the_shipped_judge_reads_rendered_pictures() -> None:
    scenes = unseen_scenes(150) + unseen_scenes(50, held_out=True)
    readings = Judge.load().read([render_image(scene) for scene in scenes])
    assert share(agreement(scenes, readings, list(READS))) > 0.9
