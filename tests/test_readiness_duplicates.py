"""Copies are found, and pictures of the same thing are not taken for copies."""

import random
from itertools import combinations

import numpy as np
import pytest
from bench.photographs import photograph
from bench.planted_faults import COPIES, copy_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from loraloom.dataset.readiness.alignment import Start
from loraloom.dataset.readiness.duplicates import SAME, Pair, find_pairs, groups
from loraloom.dataset.readiness.picture import make_thumb
from loraloom.dataset.readiness.remainder import remainder
from loraloom.dataset.readiness.signature import lightness, signatures
from loraloom.starter.world.render import render
from loraloom.starter.world.scene import CHARACTERS, identity_scene


def thumb(picture: Image.Image | NDArray[np.uint8]) -> NDArray[np.uint8]:
    return make_thumb(np.asarray(picture))


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """Half drawings of one character, half photographs."""
    rng = random.Random(seed)
    drawn = [Image.fromarray(render(identity_scene(CHARACTERS[0], rng), 256))
             for _ in range(count // 2)]  # fmt: skip
    return drawn + [photograph(256)(rng)[0] for _ in range(count - count // 2)]


def found(thumbs: list[NDArray[np.uint8]]) -> set[tuple[int, int]]:
    names = [str(number) for number in range(len(thumbs))]
    return {(pair.first, pair.second) for pair in find_pairs(np.stack(thumbs), names)}


@pytest.mark.parametrize("cut", [(0.1, 0, 0, 0), (0.1, 0.1, 0, 0), (0, 0.1, 0.1, 0), (0.05,) * 4])
def test_cuts_of_a_tenth_are_found_wherever_they_are(cut: tuple[float, ...]) -> None:
    originals = pictures(8, seed=2)
    left, top, right, bottom = (round(256 * share) for share in cut)
    copies = [picture.crop((left, top, 256 - right, 256 - bottom)) for picture in originals]
    assert found([thumb(one) for one in [*originals, *copies]]) == {(n, n + 8) for n in range(8)}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found_and_nothing_else(how: str) -> None:
    rng, originals = random.Random(5), pictures(10)
    copies = [copy_of(picture, how, rng) for picture in originals]
    told = found([thumb(picture) for picture in [*originals, *copies]])
    planted = {(number, number + 10) for number in range(10)}
    assert len(told & planted) >= 9
    assert told <= planted


def test_same_character_place_and_light_is_no_copy() -> None:
    """One scene, drawn with each of four gestures."""
    scene = identity_scene(CHARACTERS[0], random.Random(3)).with_values(
        framing="upper body", view="front view"
    )
    gestures = ("", "waving hand", "arms raised", "hands on hips")
    assert found([thumb(render(scene.with_values(gesture=g), 256)) for g in gestures]) == set()


def test_the_same_file_twice_is_a_pair_even_without_anything_in_it() -> None:
    plain = thumb(Image.new("RGB", (64, 64), "gray"))
    pairs = find_pairs(np.stack([plain, plain, plain]), ["a", "b", "a"])
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 2)]


def test_mirrored_copies_are_called_so() -> None:
    picture = pictures(2)[1]
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pairs = find_pairs(np.stack([thumb(picture), thumb(mirrored)]), ["a", "b"])
    assert [pair.mirrored for pair in pairs] == [True]


def test_groups_join_what_is_linked() -> None:
    pairs = [Pair(first, second, 0.0, False) for first, second in ((0, 4), (4, 9), (2, 3))]
    assert groups(pairs) == [[0, 4, 9], [2, 3]]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.4, 1.6), st.floats(-30, 30))
def test_signatures_ignore_contrast_and_brightness(seed: int, gain: float, lift: float) -> None:
    plane = np.random.default_rng(seed).uniform(80, 170, (1, 32, 32)).astype(np.float32)
    changed = (plane * gain + lift).astype(np.float32)
    assert float((signatures(plane) @ signatures(changed).T)[0, 0]) > 0.999


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_mirrored_signature_is_that_of_the_mirrored_picture(seed: int) -> None:
    plane = np.random.default_rng(seed).uniform(0, 255, (1, 32, 32)).astype(np.float32)
    ours = signatures(plane, mirrored=True)
    theirs = signatures(np.ascontiguousarray(plane[:, :, ::-1]))
    assert np.allclose(ours, theirs, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 255))
def test_a_turn_of_the_hue_keeps_lightness(turn: int) -> None:
    picture = pictures(2)[0].resize((96, 96))
    hsv = np.array(picture.convert("HSV"))
    hsv[..., 0] += np.uint8(turn)
    turned = Image.fromarray(hsv, "HSV").convert("RGB")
    a, b = (lightness(thumb(one)[None]) for one in (picture, turned))
    assert np.abs(a - b).mean() < 2


def test_difference_is_nothing_for_itself_and_much_for_others() -> None:
    thumbs = [thumb(picture) for picture in pictures(6, seed=8)]
    whole = Start(0, 0, False)
    assert all(remainder(one, one, whole) < 0.01 for one in thumbs)
    assert all(remainder(a, b, whole) > SAME for a, b in combinations(thumbs, 2))
