"""The lint: the table of captions, and what only the whole set shows."""

import random

import pytest
from tests.captions import RIGHT, WRONG, Row, codes, findings

from loraloom.captions.lint import Captioned, Check, lint
from loraloom.findings import Severity, blocks_training
from loraloom.kinds import Kind
from loraloom.starter.example import example_scenes
from loraloom.starter.world.scene import (
    CHARACTERS,
    OBJECTS,
    Identity,
    Scene,
    caption,
    identity_scene,
)

WOMAN = Check(Kind.CHARACTER, "ohwx woman")
REST = "gentle smile, looking at viewer, {0}, simple background, natural lighting"


def set_codes(check: Check, *captions: str | None) -> list[tuple[str, str]]:
    captioned = [Captioned(f"{n:02d}.png", text) for n, text in enumerate(captions, start=1)]
    return [(finding.code, finding.item) for finding in lint(captioned, check)]


def test_the_table_is_large_and_covers_everything() -> None:
    assert len(RIGHT) + len(WRONG) >= 270
    for rows in (RIGHT, WRONG):
        kinds = {(row.check.kind, not row.text.isascii()) for row in rows}
        assert len(kinds) == 10


@pytest.mark.parametrize("row", RIGHT, ids=lambda row: row.text)
def test_right_captions_pass(row: Row) -> None:
    assert findings(row.text, row.check) == []


@pytest.mark.parametrize("row", WRONG, ids=lambda row: row.text)
def test_wrong_captions_are_found(row: Row) -> None:
    assert row.codes <= codes(row.text, row.check)


@pytest.mark.parametrize("identity", CHARACTERS + OBJECTS, ids=lambda identity: identity.name)
def test_nothing_is_found_in_the_starter_world(identity: Identity) -> None:
    kind = Kind.CHARACTER if identity in CHARACTERS else Kind.OBJECT
    scenes: list[Scene] = example_scenes(identity)
    rng = random.Random(7)
    scenes += [identity_scene(identity, rng) for _ in range(200)]
    captions = [Captioned(str(n), caption(s, identity.trigger)) for n, s in enumerate(scenes)]
    assert lint(captions[:20], Check(kind, identity.trigger)) == []
    assert [f for f in lint(captions, Check(kind, identity.trigger)) if f.item] == []


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_missing_captions_block_training(text: str | None) -> None:
    found = findings(text, WOMAN)
    assert [finding.code for finding in found] == ["caption-missing"]
    assert blocks_training(found)


def test_trigger_in_some_captions_blocks_training() -> None:
    good = "ohwx woman, " + REST.format("hoodie")
    found = set_codes(WOMAN, good, REST.format("red dress"))
    assert found == [("trigger-missing", "02.png"), ("trigger-inconsistent", "")]


def test_trigger_in_no_caption_is_a_warning() -> None:
    captions = [Captioned("1", REST.format("hoodie")), Captioned("2", REST.format("coat"))]
    found = lint(captions, WOMAN)
    assert {(f.code, f.severity) for f in found} == {("trigger-missing", Severity.WARNING)}


def test_without_a_trigger_none_is_missed() -> None:
    assert findings(REST.format("hoodie"), Check(Kind.CHARACTER)) == []


def test_the_same_clothing_everywhere_is_told_once() -> None:
    captions = [f"ohwx woman, {REST.format('white t-shirt')}" for _ in range(4)]
    assert set_codes(WOMAN, *captions) == [("same-clothing", "")]
    different = [f"ohwx woman, {REST.format(c)}" for c in ("hoodie", "red dress", "coat", "suit")]
    assert set_codes(WOMAN, *different) == []


def test_hair_is_said_where_it_changes_and_only_there() -> None:
    one = [f"ohwx woman, ponytail, {REST.format(c)}" for c in ("hoodie", "dress", "coat")]
    assert {code for code, _ in set_codes(WOMAN, *one)} == {"identity-leak"}
    pairs = (("ponytail", "hoodie"), ("hair down", "dress"), ("braided hair", "coat"))
    several = [f"ohwx woman, {hair}, {REST.format(clothes)}" for hair, clothes in pairs]
    assert set_codes(WOMAN, *several) == []
    lacking = f"ohwx woman, {REST.format('blouse')}"
    assert set_codes(WOMAN, *several, lacking) == [("incomplete", "04.png")]
    under_a_hat = f"ohwx woman, {REST.format('blouse, hat')}"
    assert set_codes(WOMAN, *several, under_a_hat) == []
    coloured = [text.replace("ponytail", "black ponytail") for text in several]
    assert set_codes(WOMAN, *coloured) == [("identity-leak", "01.png")]


def test_chinese_hairstyles() -> None:
    check = Check(Kind.CHARACTER, "ohwx 女子")
    rest = "微笑，看向觀者，{0}，簡單背景，自然光"
    pairs = (("馬尾", "襯衫"), ("辮子", "洋裝"), ("放下頭髮", "外套"))
    several = [f"ohwx 女子，{hair}，{rest.format(clothes)}" for hair, clothes in pairs]
    assert set_codes(check, *several) == []
    assert {code for code, _ in set_codes(check, *several[:1])} == {"identity-leak"}


def test_mixed_spelling_is_told_for_the_set() -> None:
    first = "ohwx woman, gentle smile, looking at viewer, hoodie, gray background, soft lighting"
    second = "ohwx woman, laughing, looking away, coat, grey background, soft light"
    assert set_codes(WOMAN, first, second) == [("vocabulary", ""), ("vocabulary", "")]


def test_only_what_can_be_seen_is_asked_for() -> None:
    for unseen in ("eyes closed", "sunglasses", "from behind", "full body"):
        text = f"ohwx woman, {unseen}, smiling, hoodie, beach, golden hour"
        assert codes(text, WOMAN) == set(), unseen
    text = "ohwx woman, smiling, hoodie, beach, golden hour"
    assert codes(text, WOMAN) == {"incomplete"}


def test_brown_hair_is_content_in_all_kinds_but_one() -> None:
    text = "qzvx, a woman with brown hair and blue eyes reading, natural lighting"
    for kind in (Kind.STYLE, Kind.OBJECT, Kind.CONCEPT, Kind.SCENE):
        assert "identity-leak" not in codes(text, Check(kind, "qzvx"))
        assert codes(text, Check(kind, "qzvx")) == set(), kind


def test_sentences_may_be_longer_than_tags() -> None:
    text = (
        "ohwx woman is " + ", ".join(["laughing in the park"] * 18) + ", eyes closed, hoodie, sun"
    )
    assert "too-long" in codes(text, WOMAN)
    assert "too-long" not in codes(text, Check(Kind.CHARACTER, "ohwx woman", style="sentences"))


def test_a_named_concept_leaves_other_effects_alone() -> None:
    check = Check(Kind.CONCEPT, "qzpose", "yoga pose")
    assert codes("qzpose, a runner on a track, motion blur", check) == set()
    assert codes("qzpose, a woman in lotus position on a beach", check) == {"concept-leak"}


def test_an_unlisted_concept_is_found_by_its_own_words() -> None:
    check = Check(Kind.CONCEPT, "qzumb", "upside-down gravitas")
    assert codes("qzumb, upside-down gravitas, a man in a room", check) == {"concept-leak"}
    assert codes("qzumb, a man in a room", check) == set()


@pytest.mark.parametrize("said", ["side view", "looking at the camera", "frontal view"])
def test_a_near_synonym_counts_in_a_characters_caption(said: str) -> None:
    rest = "smiling, looking at viewer, hoodie, beach, golden hour"
    assert codes(f"ohwx woman, {said}, {rest}", WOMAN) == {"vocabulary"}
    assert codes(f"qzvx, a cat, {said}, sunset", Check(Kind.STYLE, "qzvx")) == set()


def test_as_good_as_the_standard_is_told_only_where_a_set_mixes() -> None:
    first, second = (f"ohwx woman, {REST.format(clothes)}" for clothes in ("hoodie", "coat"))
    second = second.replace("natural lighting", "natural light")
    assert codes(second, WOMAN) == set()
    assert set_codes(WOMAN, first, second) == [("vocabulary", "")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("gentle smile, looking at viewer, flurbish blarn, park, natural lighting", set()),
     ("gentle smile, looking at viewer, hoodie, quonset brim, natural lighting", set()),
     ("zestful, looking at viewer, hoodie, park, natural lighting", set()),
     ("gentle smile, looking at viewer, hoodie, natural lighting, in a flurbish", set()),
     ("gentle smile, looking at viewer, wearing a flurbish, park, natural lighting", set()),
     ("gentle smile, looking at viewer, flurbish blarn, natural lighting", {"incomplete"}),
     ("flurbing a blarn, looking at viewer, hoodie, park, natural lighting", {"incomplete"}),
     ("gentle smile, hoodie, park, flurbish blarn, natural lighting", {"incomplete"})],
)  # fmt: skip
def test_an_unknown_word_may_be_what_seems_missing(text: str, expected: set[str]) -> None:
    assert codes(f"ohwx woman, {text}", WOMAN) == expected
