from __future__ import annotations

from pathlib import Path

import pytest
from tests import tiny

from loraloom import families, kinds
from loraloom.errors import BaseUnknown, ConfigInvalid
from loraloom.families.info import BaseProfile
from loraloom.kinds import Kind
from loraloom.train.recipe import fewest_steps, fill, resolve
from loraloom.train.setup import prepare

INFO = families.get("sd15").info
PLAIN = BaseProfile("SD 1.5", 512, 64, 2.0)
FOLDER = {"data": {"folder": "pictures"}}


@pytest.mark.parametrize(
    ("kind", "images", "steps"),
    [("character", 4, 1500), ("character", 20, 2000), ("character", 99, 3000), ("style", 50, 5000)],
)
def test_steps_follow_kind_and_pictures(kind: str, images: int, steps: int) -> None:
    assert fill({**FOLDER, "kind": kind}, INFO, PLAIN, images).schedule.steps == steps


def test_presets_scale_the_steps() -> None:
    steps = [
        fill(FOLDER, INFO, PLAIN, 20, preset).schedule.steps
        for preset in ("beginner", "standard", "expert")
    ]
    assert steps == [1200, 2000, 3000]


def test_fewest_steps_are_those_of_the_shortest_preset() -> None:
    assert fewest_steps(INFO, PLAIN, Kind.CHARACTER, 20, "lora") == 1200
    assert fewest_steps(INFO, PLAIN, Kind.CHARACTER, 20, "oft") == 2400
    short = BaseProfile("Small", 128, 8, 2.0, defaults={"steps": 480})
    assert fewest_steps(INFO, short, Kind.CHARACTER, 20, "lora") == 288


def test_few_steps_are_warned_of_by_the_recipe(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, schedule={"steps": 5})
    own = {"base": str(base), "kind": config.kind.value, "data": {"folder": str(pictures)}}
    least = resolve(own, preset="beginner")
    said = [one.message for one in prepare(config, tmp_path).warnings]
    assert any(f"takes {least.schedule.steps} steps" in message for message in said)
    enough = tiny.config(base, pictures, schedule={"steps": least.schedule.steps})
    assert not any("is short" in one.message for one in prepare(enough, tmp_path).warnings)


def test_prior_pictures_are_on_for_subjects_only() -> None:
    images = {kind: fill({**FOLDER, "kind": kind}, INFO, PLAIN, 10).prior.images for kind in Kind}
    assert {kind for kind, count in images.items() if count} == {Kind.CHARACTER, Kind.OBJECT}


def test_alpha_is_the_rank_unless_given() -> None:
    assert fill({**FOLDER, "adapter": {"rank": 5}}, INFO, PLAIN, 10).adapter.alpha == 5
    both = {**FOLDER, "adapter": {"rank": 5, "alpha": 1}}
    assert fill(both, INFO, PLAIN, 10).adapter.alpha == 1
    for rank in (4.0, "4"):
        assert fill({**FOLDER, "adapter": {"rank": rank}}, INFO, PLAIN, 10).adapter.alpha == 4


@pytest.mark.parametrize("rank", [0, -3, "many"])
def test_of_a_rank_that_is_refused_no_alpha_is_told(rank: object) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        fill({**FOLDER, "adapter": {"rank": rank}}, INFO, PLAIN, 10)
    assert str(refused.value).startswith(f"adapter.rank = {rank!r} is not possible: ")
    assert "alpha" not in str(refused.value)


def test_base_overrides_family_and_user_overrides_base() -> None:
    profile = BaseProfile(
        "Small", 128, 16, 2.0,
        defaults={"steps": 600, "rank": 4, "learning_rate": 1e-3, "batch_size": 8,
                  "style": {"steps": 900}},
        class_words={"character": "somebody"},
    )  # fmt: skip
    config = fill({**FOLDER, "adapter": {"rank": 7}}, INFO, profile, 20)
    assert (config.schedule.steps, config.adapter.rank, config.batch_size) == (600, 7, 8)
    assert config.optimiser.learning_rate == 1e-3
    assert config.prior.class_words == "somebody"
    assert fill({**FOLDER, "kind": "style"}, INFO, profile, 20).schedule.steps == 900


def test_trigger_says_the_class() -> None:
    words = fill({**FOLDER, "trigger": "ohwx old woman"}, INFO, PLAIN, 9).prior.class_words
    assert words == "old woman"
    assert fill({**FOLDER, "trigger": "ohwx"}, INFO, PLAIN, 9).prior.class_words == "person"


def test_wrong_kind_and_key() -> None:
    with pytest.raises(ConfigInvalid, match=r"kind = 'dragon'.*character, style"):
        fill({**FOLDER, "kind": "dragon"}, INFO, PLAIN, 9)
    with pytest.raises(ConfigInvalid, match=r"Did you mean schedule.steps"):
        fill({**FOLDER, "schedule": {"step": 9}}, INFO, PLAIN, 9)


def test_resolve_reads_base_and_folder(tmp_path: Path) -> None:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures", 3)
    config = resolve({"base": str(base), "data": {"folder": str(pictures)}})
    assert config.prior.images == 2 * 3
    (pictures / "0.png").write_bytes(b"counted, not opened")
    assert resolve({"base": str(base), "data": {"folder": str(pictures)}}) == config
    with pytest.raises(ConfigInvalid, match=r"data.folder is missing"):
        resolve({"base": str(base)})
    with pytest.raises(ConfigInvalid, match=r"data\.folder = 2024 .* in quotes"):
        resolve({"base": str(base), "data": {"folder": 2024}})
    with pytest.raises(BaseUnknown):
        resolve({"base": "nowhere", "data": {"folder": str(pictures)}})


def test_every_kind_has_its_numbers() -> None:
    for kind in Kind:
        info = kinds.info(kind)
        assert info.minimum <= info.recommended_from <= info.recommended_to <= info.maximum


def test_the_rate_follows_the_type_of_adapter() -> None:
    def rates(**settings: object) -> tuple[float, float]:
        config = fill({**FOLDER, **settings}, INFO, PLAIN, 20)
        return config.optimiser.learning_rate, config.text_encoder.learning_rate

    lora = rates()
    assert rates(adapter={"type": "dora"}) == lora
    assert rates(adapter={"type": "lokr"}) == pytest.approx([5 * rate for rate in lora])
    lion = rates(adapter={"type": "oft"}, optimiser={"name": "lion"})
    assert lion == pytest.approx([1.5 * 0.2 * rate for rate in lora])
    assert rates(adapter={"type": "lokr"}, optimiser={"name": "prodigy"}) == (1, 1)
    assert rates(adapter={"type": "boft"}) == pytest.approx([1.5 * rate for rate in lora])
    own = {"adapter": {"type": "lokr"}, "optimiser": {"learning_rate": 3e-4}}
    assert rates(**own)[0] == 3e-4


def test_the_steps_follow_the_type_of_adapter() -> None:
    def steps(**settings: object) -> int:
        return fill({**FOLDER, **settings}, INFO, PLAIN, 20).schedule.steps

    assert steps(adapter={"type": "oft"}) == 2 * steps()
    assert steps(adapter={"type": "lokr"}) == steps()
    assert steps(adapter={"type": "oft"}, schedule={"steps": 7}) == 7


def test_the_share_of_class_pictures_follows_the_type_of_adapter() -> None:
    def share(**settings: object) -> float:
        return fill({**FOLDER, **settings}, INFO, PLAIN, 20).prior.share

    assert share(adapter={"type": "oft"}) == share() / 2
    assert share(adapter={"type": "boft"}) == share()
    assert share(adapter={"type": "oft"}, prior={"share": 0.3}) == 0.3


def test_the_type_of_adapter_has_defaults_of_its_own() -> None:
    def factor(**adapter: object) -> int | None:
        return fill({**FOLDER, "adapter": adapter}, INFO, PLAIN, 20).adapter.factor

    assert (factor(type="lokr"), factor(type="lokr", factor=0), factor(type="lora")) == (4, 0, None)


def test_samples_show_what_is_learnt_and_what_should_stay() -> None:
    first, *others, without = fill(
        {**FOLDER, "trigger": "ohwx {cat} woman"}, INFO, PLAIN, 10
    ).samples.prompts
    assert all(prompt.startswith("ohwx {cat} woman, ") for prompt in (first, *others))
    assert without == first.replace("ohwx {cat} woman", "{cat} woman")
    assert fill(FOLDER, INFO, PLAIN, 10).samples.prompts[0].startswith("person, ")
    concepts = [{"folder": "a", "trigger": "ab cup"}, {"folder": "b", "trigger": "cd pot"}]
    both = fill({"data": {"concepts": concepts}, "kind": "object"}, INFO, PLAIN, 10).samples
    assert [prompt.split(",")[0] for prompt in both.prompts] == [*["ab cup"] * 2, *["cd pot"] * 2,
                                                                 "object"]  # fmt: skip
    own = {**FOLDER, "trigger": "ohwx woman", "samples": {"prompts": ["a {}"]}}
    assert fill(own, INFO, PLAIN, 10).samples.prompts == ("a {}",)
    none = fill({**FOLDER, "samples": {"prompts": []}}, INFO, PLAIN, 10).samples
    assert (none.prompts, none.every_steps) == ((), 0)


def test_a_base_of_video_draws_no_samples_unless_it_is_asked_to() -> None:
    info = families.get("wan").info
    assert fill({**FOLDER, "trigger": "zk cat"}, info, PLAIN, 10).samples.prompts == ()


def test_epochs_become_steps() -> None:
    own = {**FOLDER, "data": {"folder": "p", "held_out_fraction": 0.2}, "batch_size": 4,
           "accumulation": 2, "schedule": {"epochs": 12}}  # fmt: skip
    config = fill({**own, "prior": {"images": 0}}, INFO, PLAIN, 20)
    assert config.schedule.steps == 24  # 12 x 16 pictures, 8 a step
    assert (config.schedule.epochs, config.schedule.warmup_steps) == (None, 1)
    text = fill({**own, "prior": {"images": 0}, "schedule": {"epochs": "12"}}, INFO, PLAIN, 20)
    assert text == config
    mixed = fill({**own, "prior": {"images": 40, "share": 0.5}}, INFO, PLAIN, 20)
    assert mixed.schedule.steps == 48
    assert (
        fill({**own, "schedule": {"epochs": 1}, "batch_size": 64}, INFO, PLAIN, 20).schedule.steps
        == 1
    )
    with pytest.raises(ConfigInvalid, match=r"schedule.steps = 9 and schedule.epochs = 12 both"):
        fill({**own, "schedule": {"epochs": 12, "steps": 9}}, INFO, PLAIN, 20)
    with pytest.raises(ConfigInvalid, match=r"schedule.epochs"):
        fill({**own, "schedule": {"epochs": 0}}, INFO, PLAIN, 20)
