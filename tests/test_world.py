"""The starter world: captions say what can be seen, and pictures show what captions say."""

import json
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loraloom.starter.example import contexts, example_scenes, write_example
from loraloom.starter.training.pictures import scene_of
from loraloom.starter.training.words import END, build_tokenizer, learn_merges
from loraloom.starter.world.render import render
from loraloom.starter.world.scene import (
    ATTRIBUTES,
    CHARACTERS,
    HELD_OUT,
    OBJECTS,
    Scene,
    caption,
    context_phrases,
    sample_scene,
    visible,
)

PLAIN = Scene(
    {
        "subject": "woman", "skin": "fair skin", "hair_colour": "brown hair",
        "hair_style": "ponytail", "colour": "red", "framing": "upper body", "view": "front view",
        "expression": "laughing", "gaze": "looking at viewer", "gesture": "waving hand",
        "garment": "hoodie", "garment_colour": "blue", "accessory": "", "lighting": "golden hour",
        "background": "park background", "style": "flat color style",
    },
    seed=7,
)  # fmt: skip


def test_caption_follows_the_caption_order() -> None:
    assert caption(PLAIN) == (
        "woman, fair skin, brown hair, ponytail, upper body, front view, laughing, "
        "looking at viewer, waving hand, blue hoodie, park background, golden hour, "
        "flat color style"
    )


def test_what_cannot_be_seen_is_not_said() -> None:
    far = PLAIN.with_values(framing="full body", accessory="sunglasses")
    assert "laughing" not in caption(far)
    assert "looking at viewer" not in caption(PLAIN.with_values(accessory="sunglasses"))
    assert "waving hand" not in caption(PLAIN.with_values(framing="close-up"))
    assert "ponytail" not in caption(PLAIN.with_values(accessory="hat"))
    thing = PLAIN.with_values(subject="mug")
    assert caption(thing) == "red mug, park background, golden hour, flat color style"


@pytest.mark.parametrize("name", [name for name in ATTRIBUTES if name != "colour"])
def test_every_value_that_is_said_changes_the_picture(name: str) -> None:
    options = [PLAIN.with_values(**{name: value}) for value in ATTRIBUTES[name]]
    assert all(visible(scene, name) for scene in options)
    pictures = [render(scene).astype(int) for scene in options]
    for i, one in enumerate(pictures):
        for other in pictures[i + 1 :]:
            assert (np.abs(one - other).max(axis=2) > 24).sum() >= 6


@pytest.mark.parametrize("name", HELD_OUT)
def test_every_held_out_feature_shows(name: str) -> None:
    subject = "mug" if name == "pattern" else "woman"
    plain = PLAIN.with_values(subject=subject, framing="close-up", gesture="")
    for value in HELD_OUT[name]:
        changed = render(plain.with_values(**{name: value})).astype(int)
        assert (np.abs(changed - render(plain)).max(axis=2) > 40).sum() >= 20


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_scene_is_drawn_the_same_each_time(seed: int, held_out: bool) -> None:
    scene = sample_scene(random.Random(seed), held_out=held_out)
    again = sample_scene(random.Random(seed), held_out=held_out)
    assert np.array_equal(render(scene), render(again))
    assert render(scene, 64).shape == (64, 64, 3)


def test_the_base_never_meets_a_held_out_feature() -> None:
    kept_back = {value for values in HELD_OUT.values() for value in values}
    for index in range(2_000):
        assert not kept_back & set(scene_of("base", index).values.values())
    assert kept_back & {v for i in range(200) for v in scene_of("wide", i).values.values()}


@pytest.mark.parametrize("identity", [*CHARACTERS, *OBJECTS], ids=lambda i: i.name)
def test_identities_hold_features_that_the_base_never_met(identity) -> None:  # type: ignore[no-untyped-def]
    for name in identity.held_out:
        assert identity.values[name] in HELD_OUT[name]
    for scene in example_scenes(identity):
        assert {name: scene[name] for name in identity.values} == dict(identity.values)


def test_example_captions_leave_the_identity_out(tmp_path) -> None:  # type: ignore[no-untyped-def]
    mira = CHARACTERS[0]
    write_example(tmp_path, mira)
    captions = [path.read_text() for path in sorted(tmp_path.glob("*.txt"))]
    assert len(captions) == len(list(tmp_path.glob("*.png"))) == 30
    for words in captions:
        assert words.startswith("ohwx woman, ")
        assert not any(value in words for value in ("hair", "skin", "horns", "buns", "star"))


def test_contexts_are_not_in_the_example_set() -> None:
    mira = CHARACTERS[0]
    known = {tuple(context_phrases(scene)) for scene in example_scenes(mira)}
    new = {tuple(context_phrases(scene)) for scene in contexts(mira, 48, seed=1)}
    assert not known & new


def test_words_are_numbered_alike_in_each_process() -> None:
    program = (
        "from loraloom.starter.training.words import build_tokenizer;"
        "import json; print(json.dumps(build_tokenizer().get_vocab(), sort_keys=True))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert json.loads(told.stdout) == build_tokenizer().get_vocab()


def test_merges_are_those_of_the_published_example() -> None:
    words = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})  # Sennrich et al., figure 1
    merges = learn_merges(words)
    assert merges[:2] == [("e", "s"), ("es", "t</w>")]
    assert ("l", "o") in merges[2:4]


def test_any_word_can_be_a_trigger() -> None:
    tokenizer = build_tokenizer()
    for word in ("ohwx", "zvkr", "薔薇", "é", "q7!", "ohwx woman"):
        tokens = tokenizer.tokenize(word)
        assert tokens
        assert END not in tokens
    assert tokenizer.tokenize("golden hour") == ["golden</w>", "hour</w>"]
    assert tokenizer.tokenize("薔") != tokenizer.tokenize("薇")
