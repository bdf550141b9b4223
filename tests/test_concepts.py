"""Several folders in one run, each with its own trigger and repeats."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests import tiny

from loraloom import config_tree, train
from loraloom.config import Tree
from loraloom.config_tree import merge
from loraloom.errors import ConfigInvalid
from loraloom.train import batches, prior
from loraloom.train.events import Finished
from loraloom.train.recipe import resolve
from loraloom.train.setup import prepare


@pytest.fixture
def tree(base: Path, tmp_path: Path) -> Tree:
    """Four pictures of one, two of another that count twice."""
    first = tiny.save_pictures(tmp_path / "first", 4)
    second = tiny.save_pictures(tmp_path / "second", 6)
    for number in range(4):
        (second / f"{number}.png").unlink()
        (second / f"{number}.txt").unlink()
    for text in second.glob("*.txt"):
        text.write_text("a tall cat, outdoors")
    return {
        "base": str(base),
        "precision": "float32",
        "batch_size": 2,
        "data": {
            "concepts": [
                {"folder": str(first), "trigger": "zk person"},
                {"folder": str(second), "trigger": "qx cat", "repeats": 2},
            ],
            "held_out_fraction": 0.0,
        },
        "adapter": {"rank": 2, "targets": "attention"},
        "text_encoder": {"ratio": 0.0},
        "schedule": {"steps": 4},
        "prior": {"images": 2, "steps": 2, "class_words": "thing"},
        "validation": {"every_steps": 2},
    }


def test_each_has_its_trigger_and_repeats(tree: Tree, tmp_path: Path) -> None:
    config = resolve(tree)
    setup = prepare(config, tmp_path / "out")
    captions = Counter(example.caption for example in setup.examples)
    assert captions["qx cat, a tall cat, outdoors"] == 2 and len(captions) == 5
    assert [w.message for w in setup.warnings if "trigger" in w.message] == [
        "2 captions had no trigger; their concept's was put first in each."
    ]
    planned = batches.plan(setup.examples, 2, 400, 0.0, 0)
    shown = Counter("cat" in e.caption for batch in planned for e in batch)
    assert shown[True] / 800 == pytest.approx(0.5, abs=0.02)
    assert config.triggers == ("zk person", "qx cat")
    assert prior.class_prompt("qx cat, outdoors", config) == "thing, outdoors"
    del tree["prior"]["class_words"]
    tree["data"]["concepts"][0]["trigger"] = "zk"
    config = resolve(tree)
    assert prior.class_prompt("qx cat, outdoors", config) == "cat, outdoors"
    assert prior.class_prompt("zk, outdoors", config) == "person, outdoors"


def test_a_run_and_its_settings(tree: Tree, tmp_path: Path) -> None:
    config = resolve(tree)
    *_, finished = train.run(config, tmp_path / "out")
    assert isinstance(finished, Finished)
    assert config_tree.validate(config_tree.read_toml(tmp_path / "out/config.toml")) == config
    moved = merge(tree, {"data": {"concepts": [
        {**concept, "folder": f"{concept['folder']}/../{Path(concept['folder']).name}"}
        for concept in tree["data"]["concepts"]
    ]}})  # fmt: skip
    assert resolve(moved).shaping() == config.shaping()


def test_steps_follow_all_pictures(tree: Tree) -> None:
    del tree["schedule"]
    tree["base"] = "starter"
    few = resolve(tree).schedule.steps
    tree["data"]["concepts"] *= 5
    assert resolve(tree).schedule.steps >= few


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"data": {"folder": "pictures"}}, r"either from data.folder or from \[\["),
        ({"trigger": "zk"}, "each of data.concepts has its own trigger"),
        ({"data": {"concepts": []}}, r"either from data.folder or from"),
        ({"data": {"concepts": "pictures"}}, r"data.concepts is a list of tables: write \[\[data"),
        ({"data": {"concepts": [{"trigger": "zk"}]}}, r"data.concepts.0.folder is missing"),
    ],
)  # fmt: skip
def test_what_contradicts_is_refused(tree: Tree, more: Tree, message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        resolve(merge(tree, more))


def test_a_misspelt_key_is_named(tree: Tree) -> None:
    tree["data"]["concepts"][0]["repeat"] = 3
    with pytest.raises(ConfigInvalid, match=r"There is no setting data.concepts.0.repeat"):
        resolve(tree)
