"""Measures of one picture, against what was done to it."""

import io
import random
from math import erf

import numpy as np
import pytest
from bench.photographs import gain, photograph, with_faces
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import cbook
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from loraloom.dataset.readiness import blur, colour, exposure, faces, jpeg
from loraloom.starter.world.render import render, render_image
from loraloom.starter.world.scene import (
    ATTRIBUTES,
    CHARACTERS,
    identity_scene,
    sample_scene,
)


def luma(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture.convert("L"))


def step(width_px: float, contrast: float) -> NDArray[np.uint8]:
    """An upright edge blurred by a Gaussian of known width, by its integral and not by a filter."""
    row = [erf((x - 127.5) / (width_px * 2**0.5)) for x in range(256)]
    return np.tile((128 + contrast / 2 * np.array(row)).astype(np.uint8), (256, 1))


@pytest.mark.parametrize("width_px", [1.5, 2.5, 4.0])
@pytest.mark.parametrize("contrast", [80, 200])
def test_edge_width_is_that_of_the_edge(width_px: float, contrast: float) -> None:
    found = blur.edge_width_px(step(width_px, contrast))
    assert found == pytest.approx(width_px, rel=0.15)


def test_blur_grows_with_the_radius() -> None:
    picture, _ = photograph(320)(random.Random(1))
    widths = [
        blur.edge_width_px(luma(picture.filter(ImageFilter.GaussianBlur(radius))))
        for radius in (0, 1.5, 3, 5)
    ]
    found = [width for width in widths if width is not None]
    assert len(found) == 4
    assert found == sorted(found)
    assert found[0] < 1 < found[2]


def test_soft_background_is_no_blur() -> None:
    sharp, _ = photograph(320)(random.Random(1))
    soft = sharp.filter(ImageFilter.GaussianBlur(8))
    soft.paste(sharp.crop((100, 100, 230, 230)), (100, 100))
    width = blur.edge_width_px(luma(soft))
    assert width is not None and width < 1.5


def test_flat_drawings_are_not_blurred() -> None:
    rng = random.Random(4)
    for style in ATTRIBUTES["style"]:
        picture = render_image(sample_scene(rng).with_values(style=style), 256)
        width = blur.edge_width_px(luma(picture))
        assert width is None or width < 1.0, style


def test_a_plain_picture_has_no_edges() -> None:
    assert blur.edge_width_px(np.full((80, 90), 120, np.uint8)) is None


@pytest.mark.parametrize("quality", [1, 10, 25, 40, 49, 50, 51, 75, 80, 94, 95, 99, 100])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_quality_is_what_pillow_saved_with(quality: int, mode: str) -> None:
    picture = render_image(sample_scene(random.Random(0)), 64).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    assert jpeg.quality(buffer.getvalue()) == pytest.approx(quality, abs=1 if quality < 20 else 0)


def test_only_jpeg_files_have_a_quality() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    assert jpeg.quality(buffer.getvalue()) is None
    assert jpeg.quality(b"\xff\xd8 and then nothing") is None
    assert jpeg.quality(b"") is None


def test_too_little_light_is_seen_and_night_is_not() -> None:
    picture, _ = photograph(256)(random.Random(3))
    assert exposure.measure(luma(gain(picture, -4))).brightest < 0.42
    night = np.full((200, 200), 12, np.uint8)
    night[40:60, 40:60] = 240
    assert exposure.measure(night).brightest > 0.9


def test_burnt_out_skin_is_seen_and_white_paper_is_not() -> None:
    ramp = np.clip(np.hypot(*np.mgrid[-100:100, -100:100]) * -2.0 + 400, 0, 255).astype(np.uint8)
    assert exposure.measure(ramp).blown > 0.15
    product = np.full((200, 200), 255, np.uint8)
    product[60:140, 60:140] = 90
    assert exposure.measure(product).blown == 0
    shirt = np.full((200, 200), 120, np.uint8)
    shirt[60:180, 50:150] = 255
    assert exposure.measure(shirt).blown == 0


def test_a_drawing_burns_out_colour_by_colour() -> None:
    drawing = render(identity_scene(CHARACTERS[0], random.Random(4)), 256)
    for stops, least, most in ((0, 0, 0.2), (3.5, 0.3, 1)):
        rgb = np.asarray(gain(Image.fromarray(drawing), stops))
        found = exposure.measure(luma(Image.fromarray(rgb)), rgb.max(axis=2))
        assert least <= found.lost <= most
    pure = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    assert exposure.measure(luma(Image.fromarray(pure)), pure.max(axis=2)).mean < 0.76
    paper = np.full((64, 64, 3), (255, 243, 205), np.uint8)
    paper[20:40, 20:40] = 120
    assert exposure.measure(luma(Image.fromarray(paper)), paper.max(axis=2)).lost == 0


def test_a_shared_tint_is_named() -> None:
    rng = random.Random(2)
    pictures = [np.asarray(photograph(96)(rng)[0]) for _ in range(10)]
    plain = colour.cast([colour.tint(picture) for picture in pictures])
    warm = np.array([1.0, 0.86, 0.6])
    tinted = [colour.tint((picture * warm).astype(np.uint8)) for picture in pictures]
    found = colour.cast(tinted)
    assert plain.strength < 8 < found.strength
    assert found.share > 0.55
    assert found.name in ("orange", "yellow")


@given(st.integers(0, 255))
def test_grey_has_no_tint(level: int) -> None:
    assert np.allclose(colour.tint(np.full((8, 8, 3), level, np.uint8)), 0, atol=0.2)


def test_faces_are_counted() -> None:
    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        assert faces.count(luma(Image.open(stream))) == 1
    for seed in range(4):
        for number in (1, 2):
            assert faces.count(luma(with_faces(512, random.Random(seed), number))) == number


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_noise_has_no_faces(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (200, 200), np.uint8)
    assert faces.count(noise) < 2
