"""Rotation: pictures turned by quarters, with their masks and crops, as new files."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests.zips import encoded, fill_folder, png

from loraloom.dataset import crops, images, intake, masks, rotation
from loraloom.dataset.checking import Checkers
from loraloom.dataset.snapshot import Box
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetUnknown, ImageUnreadable, RotationRefused

NOISE = np.random.default_rng(3).integers(0, 256, (24, 36, 3), np.uint8)
MASK = np.random.default_rng(4).integers(0, 256, (24, 36), np.uint8)


@pytest.fixture
def cups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredDataset:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    root = fill_folder(
        tmp_path / "p",
        {"a.png": encoded(Image.fromarray(NOISE)), "a.txt": "one", "b.png": png(2), "b.txt": "two",
         "masks/a.png": encoded(Image.fromarray(MASK))},
    )  # fmt: skip
    stored = Store().place("cups")
    intake.import_into(stored, [root])
    return stored


def pixels(stored: StoredDataset, sha256: str) -> NDArray[np.uint8]:
    return np.asarray(images.open_rgb(stored.objects.path(sha256)))


@pytest.mark.parametrize("quarters", [-1, 1, 2, 3])
def test_the_file_and_its_mask_are_turned(cups: StoredDataset, quarters: int) -> None:
    before, other = cups.working.pictures
    made = rotation.rotate(cups, [before.sha256], quarters)
    after = cups.working.pictures[0]
    assert made == {before.sha256: after}
    assert cups.working.pictures[1] == other
    assert np.array_equal(pixels(cups, after.sha256), np.rot90(NOISE, -quarters))
    mask = masks.read(cups.objects.path(after.mask), "mask")
    assert np.array_equal(mask, np.rot90(MASK, -quarters))
    assert (after.height_px, after.width_px) == np.rot90(MASK, quarters).shape
    assert (after.caption, after.name, after.kind) == ("one", "a.png", "PNG")
    assert cups.undo() == "rotated 1 pictures"
    assert cups.working.pictures[0] == before
    assert np.array_equal(pixels(cups, before.sha256), NOISE)


def test_what_lies_in_a_crop_stays_in_it(cups: StoredDataset) -> None:
    sha256 = cups.working.pictures[0].sha256
    cups.set_crops({sha256: (3, 5, 20, 17)})
    part = NOISE[5:22, 3:23]
    after = rotation.rotate(cups, [sha256], 1)[sha256]
    shown = Image.open(io.BytesIO(crops.burn_in(after, cups.objects.path(after.sha256))))
    assert np.array_equal(np.asarray(shown), np.rot90(part, -1))


@given(
    st.integers(16, 60), st.integers(16, 60), st.integers(0, 40), st.integers(0, 40),
    st.integers(1, 3),
)  # fmt: skip
def test_any_crop_turns_with_its_picture(
    width: int, height: int, left: int, top: int, quarters: int
) -> None:
    whole = np.arange((height + top + 7) * (width + left + 3)).reshape(height + top + 7, -1)
    work = rotation._Work(None, quarters, rotation.turn_here, Path())  # type: ignore[arg-type]
    box: Box = work._box((left, top, width, height), (whole.shape[1], whole.shape[0]))
    x, y, w, h = box
    part = np.rot90(whole, -quarters)[y : y + h, x : x + w]
    assert np.array_equal(part, np.rot90(whole[top : top + height, left : left + width], -quarters))


def test_a_photograph_lies_as_its_camera_says(cups: StoredDataset, tmp_path: Path) -> None:
    """A JPEG that is shown turned is turned from what is shown."""
    exif = Image.Exif()
    exif[274] = 6  # shown a quarter clockwise
    buffer = io.BytesIO()
    smooth = np.asarray(Image.fromarray(NOISE).resize((96, 64), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(buffer, "JPEG", quality=95, exif=exif)
    intake.import_into(cups, [fill_folder(tmp_path / "q", {"c.jpg": buffer.getvalue(),
                                                           "c.txt": "three"})])  # fmt: skip
    before = cups.working.pictures[-1]
    assert (before.width_px, before.height_px) == (64, 96)
    shown = pixels(cups, before.sha256)
    after = rotation.rotate(cups, [before.sha256], -1)[before.sha256]
    assert np.array_equal(pixels(cups, after.sha256), np.rot90(shown))
    assert (after.name, after.width_px, after.height_px) == ("c.png", 96, 64)


def test_children_turn_as_this_process_does(cups: StoredDataset) -> None:
    shas = [picture.sha256 for picture in cups.working.pictures]
    here = rotation.rotate(cups, shas, 1)
    cups.undo()
    with Checkers(1) as pool:
        assert rotation.rotate(cups, shas, 1, pool.turn) == here


def test_a_picture_that_looks_the_same_turned(cups: StoredDataset, tmp_path: Path) -> None:
    plain = encoded(Image.new("RGB", (40, 40), "red"))
    intake.import_into(cups, [fill_folder(tmp_path / "q", {"p.png": plain, "p.txt": "plain"})])
    sha256 = cups.working.pictures[-1].sha256
    once = rotation.rotate(cups, [sha256], 1)[sha256].sha256
    before = cups.working
    assert rotation.rotate(cups, [once], 1)[once] == before.pictures[-1]
    assert cups.working == before


def test_pairs_that_are_kept_both_stay_so(cups: StoredDataset) -> None:
    one, other = (picture.sha256 for picture in cups.working.pictures)
    cups.keep_both(one, other)
    new = rotation.rotate(cups, [one], 2)[one].sha256
    assert [set(pair) for pair in cups.working.alike] == [{new, other}]


def test_what_cannot_be_rotated(cups: StoredDataset, tmp_path: Path) -> None:
    first = cups.working.pictures[0]
    turned = encoded(Image.fromarray(np.rot90(NOISE)))
    with pytest.raises(DatasetUnknown, match="has no picture 0000"):
        rotation.rotate(cups, ["0" * 64], 1)
    assert rotation.rotate(cups, [first.sha256], 4) == {first.sha256: first}
    made = rotation.rotate(cups, [first.sha256], -1)[first.sha256]
    cups.undo()
    again = cups.objects.path(made.sha256).read_bytes()
    intake.import_into(cups, [fill_folder(tmp_path / "q", {"t.png": again, "t.txt": "t"})])
    assert np.array_equal(pixels(cups, made.sha256), np.asarray(Image.open(io.BytesIO(turned))))
    before = cups.working
    with pytest.raises(RotationRefused, match=r"a\.png: rotated it is the same as t\.png"):
        rotation.rotate(cups, [first.sha256], -1)
    clip = replace(before.pictures[0], frames=5)
    cups.put(replace(before, pictures=(clip, *before.pictures[1:])), "made a clip of it")
    with pytest.raises(RotationRefused, match="is a clip"):
        rotation.rotate(cups, [clip.sha256], 1)


def test_a_picture_that_cannot_be_read_changes_nothing(cups: StoredDataset) -> None:
    def broken(*_: object) -> None:
        raise ImageUnreadable("a.png: cannot be read")

    before = cups.working
    with pytest.raises(ImageUnreadable):
        rotation.rotate(cups, [before.pictures[0].sha256], 1, broken)
    assert cups.working == before
    assert not list(cups.root.glob(".incoming-*"))
