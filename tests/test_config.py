from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom import config_tree
from loraloom.errors import ConfigInvalid

COMPLETE = {
    "kind": "object",
    "batch_size": 2,
    "data": {"folder": "pictures"},
    "adapter": {"rank": 8, "alpha": 4.0},
    "optimiser": {"learning_rate": 1e-4},
    "schedule": {"steps": 10},
    "validation": {"every_steps": 5},
}


def test_effective_learning_rate_honours_alpha() -> None:
    assert config_tree.validate(COMPLETE).effective_learning_rate == pytest.approx(5e-5)


@given(st.text(max_size=30))
def test_toml_round_trip(text: str) -> None:
    tree = config_tree.merge(COMPLETE, {"trigger": text, "samples": {"prompts": [text, "b"]}})
    given_config = config_tree.validate(tree)
    assert config_tree.validate(tomllib.loads(config_tree.to_toml(given_config))) == given_config


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ({"adapter": {"rnak": 8}}, "adapter.rank"),
        ({"optimizer": {"learning_rate": 1e-4}}, "optimiser.learning_rate"),
        ({"batchsize": 4}, "batch_size"),
        ({"rank": 4}, "adapter.rank"),
    ],
)
def test_misspelt_key_names_the_nearest(wrong: dict[str, object], nearest: str) -> None:
    with pytest.raises(ConfigInvalid, match=rf"Did you mean {nearest}\?"):
        config_tree.refuse_unknown(wrong)


def test_unlike_anything_gets_no_hint() -> None:
    with pytest.raises(ConfigInvalid, match=r"There is no setting zzzzqqq\.$"):
        config_tree.refuse_unknown({"zzzzqqq": 1})


def test_out_of_range_gives_key_value_and_limit() -> None:
    tree = config_tree.merge(COMPLETE, {"adapter": {"rank": 0}, "data": {"held_out_fraction": 0.9}})
    with pytest.raises(ConfigInvalid) as caught:
        config_tree.validate(tree)
    message = str(caught.value)
    assert "adapter.rank = 0 is not possible" in message and "greater than or equal to 1" in message
    assert "data.held_out_fraction = 0.9" in message and "0.5" in message


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimiser": {"betas": [0.9, 1.0]}},
        {"validation": {"timesteps": [0.5, 1.5]}},
        {"optimiser": {"learning_rate": float("nan")}},
    ],
)
def test_other_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigInvalid, match=r"is not possible"):
        config_tree.validate(config_tree.merge(COMPLETE, wrong))


def test_missing_setting_is_named() -> None:
    with pytest.raises(ConfigInvalid, match=r"optimiser\.learning_rate is missing"):
        config_tree.validate(config_tree.merge(COMPLETE, {"optimiser": {}}) | {"optimiser": {}})


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("adapter.rank=8", {"adapter": {"rank": 8}}),
        ("data.mirror = true", {"data": {"mirror": True}}),
        ("trigger=ohwx woman", {"trigger": "ohwx woman"}),
        ('adapter.targets=["to_q"]', {"adapter": {"targets": ["to_q"]}}),
        ("trigger=a=b", {"trigger": "a=b"}),
    ],
)
def test_assignment(text: str, tree: dict[str, object]) -> None:
    assert config_tree.parse_assignment(text) == tree


@pytest.mark.parametrize("text", ["adapter.rank", "=3"])
def test_broken_assignment(text: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"name=value"):
        config_tree.parse_assignment(text)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"cannot be read"):
        config_tree.read_toml(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("a = ")
    with pytest.raises(ConfigInvalid, match=r"not valid TOML"):
        config_tree.read_toml(tmp_path / "broken.toml")


def test_merge_leaves_its_arguments_alone() -> None:
    one, two = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert config_tree.merge(one, two) == {"a": {"b": 1, "c": 2}}
    assert one == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [
        ({"data": "pictures"}, r"data = 'pictures' .* such as data\.folder"),
        ({"schedule": 5}, r"schedule = 5 .* such as schedule\.steps"),
    ],
)
def test_a_value_in_place_of_a_table(wrong: dict[str, object], setting: str) -> None:
    with pytest.raises(ConfigInvalid, match=setting):
        config_tree.refuse_unknown(wrong)


@pytest.mark.parametrize("targets", ["atention", ["to_q", 5], 5])
def test_wrong_targets_are_told_in_one_sentence(targets: object) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config_tree.validate(config_tree.merge(COMPLETE, {"adapter": {"targets": targets}}))
    message = str(caught.value)
    assert message.startswith(f"adapter.targets = {targets!r} is not possible: ")
    assert "attention, blocks, full" in message and "\n" not in message
    assert ("did you mean attention?" in message) == (targets == "atention")


def test_what_shapes_an_adapter_names_no_place() -> None:
    tree = config_tree.merge(COMPLETE, {"base": "/home/me/base", "samples": {"prompts": ["me"]}})
    kept = config_tree.validate(tree).shaping()
    assert kept["adapter"]["rank"] == 8 and kept["data"]["mirror"] is False
    assert not {"base", "samples", "checkpoint"} & kept.keys() and "folder" not in kept["data"]


def test_ranks_by_layer_survive_toml() -> None:
    given = config_tree.parse_assignment('adapter.ranks={"ff.net.0.proj"=4, "to_\\"q"=2}')
    whole = config_tree.validate(config_tree.merge(COMPLETE, given))
    assert whole.adapter.ranks == {"ff.net.0.proj": 4, 'to_"q': 2}
    path_less = config_tree.validate(tomllib.loads(config_tree.to_toml(whole)))
    assert path_less == whole
    with pytest.raises(ConfigInvalid, match=r"adapter.ranks.to_q = 0 is not possible"):
        config_tree.validate(config_tree.merge(COMPLETE, {"adapter": {"ranks": {"to_q": 0}}}))
