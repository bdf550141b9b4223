"""Properties of buckets and crops that hold for every picture."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from loraloom.dataset.buckets import Bucket, apply_crop, choose_bucket, plan_crop
from loraloom.errors import ConfigInvalid

sides_px = st.integers(16, 6000)


@given(sides_px, sides_px, st.integers(64, 1280), st.sampled_from([8, 16, 32, 64]),
       st.floats(1.0, 4.0))  # fmt: skip
def test_bucket_rules(
    width_px: int, height_px: int, resolution_px: int, multiple: int, max_aspect: float
) -> None:
    bucket = choose_bucket(
        width_px, height_px, resolution_px=resolution_px, multiple=multiple, max_aspect=max_aspect
    )
    turned = choose_bucket(
        height_px, width_px, resolution_px=resolution_px, multiple=multiple, max_aspect=max_aspect
    )
    short, long = sorted((bucket.width_px, bucket.height_px))
    assert short % multiple == long % multiple == 0
    assert short * long <= resolution_px**2
    assert long <= short * max_aspect + 1e-6
    assert (width_px - height_px) * (bucket.width_px - bucket.height_px) >= 0
    assert turned == Bucket(bucket.height_px, bucket.width_px)


@given(st.integers(32, 160), st.integers(32, 160), st.integers(1, 8), st.integers(1, 8))
def test_crop_fills_the_bucket(width_px: int, height_px: int, columns: int, rows: int) -> None:
    bucket = Bucket(columns * 16, rows * 16)
    crop = plan_crop(width_px, height_px, bucket)
    resized_width_px, resized_height_px = crop.resized_px
    assert 0 <= crop.left_px <= resized_width_px - bucket.width_px
    assert 0 <= crop.top_px <= resized_height_px - bucket.height_px
    assert crop.left_px == 0 or crop.top_px == 0
    image = apply_crop(Image.new("RGB", (width_px, height_px), "red"), crop)
    assert image.size == (bucket.width_px, bucket.height_px)
    assert image.getextrema() == ((255, 255), (0, 0), (0, 0))


@given(sides_px)
def test_square_stays_square(side_px: int) -> None:
    bucket = choose_bucket(side_px, side_px, resolution_px=512, multiple=64, max_aspect=2.0)
    assert bucket == Bucket(512, 512)


def test_closest_aspect() -> None:
    """SDXL's published list has 896 × 1152 for 7:9 and 1216 × 832 for 19:13."""
    assert choose_bucket(
        896, 1152, resolution_px=1024, multiple=64, max_aspect=4.0
    ) == Bucket(896, 1152)  # fmt: skip
    assert choose_bucket(
        3000, 2053, resolution_px=1024, multiple=64, max_aspect=4.0
    ) == Bucket(1216, 832)  # fmt: skip


def test_crop_takes_the_middle() -> None:
    image = Image.new("RGB", (300, 100), "black")
    image.paste("white", (100, 0, 200, 100))
    crop = plan_crop(300, 100, Bucket(64, 64))
    assert (crop.resized_px, crop.left_px, crop.top_px) == ((192, 64), 64, 0)
    assert min(band[0] for band in apply_crop(image, crop).crop((4, 0, 60, 64)).getextrema()) > 250


def test_too_small_a_resolution() -> None:
    with pytest.raises(ConfigInvalid, match="at least 64"):
        choose_bucket(100, 100, resolution_px=32, multiple=64, max_aspect=2.0)


def test_far_too_long_picture_gets_the_longest_bucket() -> None:
    bucket = choose_bucket(4000, 500, resolution_px=512, multiple=64, max_aspect=2.0)
    assert math.isclose(bucket.width_px / bucket.height_px, 2.0, rel_tol=0.25)
