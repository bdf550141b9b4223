"""Crops: kept beside whole pictures, counted in the hash, honoured by training and exports."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.zips import encoded, fill_folder, png
from typer.testing import CliRunner

from loraloom import cli
from loraloom.dataset import crops, exports, intake, reference
from loraloom.dataset.buckets import Bucket, apply_crop, plan_crop
from loraloom.dataset.snapshot import from_json
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CropInvalid, DatasetUnknown, IntakeRefused

QUARTERS = Image.new("RGB", (80, 60), "red")
QUARTERS.paste("blue", (40, 0, 80, 30))
TOP_RIGHT = (40, 0, 40, 30)


@pytest.fixture
def cups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredDataset:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    root = fill_folder(
        tmp_path / "p",
        {"a.png": encoded(QUARTERS), "a.txt": "one", "b.png": png(2), "b.txt": "two",
         "masks/a.png": encoded(Image.new("L", (80, 60), 99))},
    )  # fmt: skip
    stored = Store().place("cups")
    intake.import_into(stored, [root])
    stored.set_crops({stored.working.pictures[0].sha256: TOP_RIGHT})
    return stored


def test_a_crop_counts_and_can_be_undone(cups: StoredDataset) -> None:
    with_crop = cups.snapshot()
    assert cups.read_snapshot(with_crop).pictures[0].crop == TOP_RIGHT
    tree = json.loads(json.dumps(cups.working.to_json()))
    assert from_json(tree, "x") == cups.working
    assert cups.undo() == "crops"
    assert cups.working.hash != with_crop
    assert cups.working.pictures[0].crop is None


@pytest.mark.parametrize(
    "box", [(41, 0, 40, 30), (0, 0, 81, 20), (-1, 0, 20, 20), (0, 0, 15, 60), (0, 31, 20, 30)]
)
def test_crops_that_are_not_possible(box: tuple[int, int, int, int], cups: StoredDataset) -> None:
    with pytest.raises(CropInvalid, match=r"a\.png: the crop .* is not possible in 80 × 60 px"):
        cups.set_crops({cups.working.pictures[0].sha256: box})


def test_training_sees_the_part(cups: StoredDataset) -> None:
    item = next(item for item in reference.read("cups").items if item.region)
    assert (item.region, item.width_px, item.height_px) == (TOP_RIGHT, 40, 30)
    crop = replace(plan_crop(40, 30, Bucket(16, 16)), region=item.region)
    seen = np.asarray(apply_crop(Image.open(item.path).convert("RGB"), crop))
    assert (seen == (0, 0, 255)).all()


@pytest.mark.parametrize("to", ["kohya", "ai-toolkit", "diffusers", "zip"])
def test_exports(to: Any, cups: StoredDataset, tmp_path: Path) -> None:
    """Ours keeps the picture whole and names the crop; for others it is cut, and so is the mask."""
    told = exports.export(cups.working, cups.objects, to, tmp_path / "out")
    assert any("as they are cropped" in line for line in told) == (to != "zip")
    again = Store().place("again")
    intake.import_into(again, [tmp_path / "out"])
    picture = next(p for p in again.working.pictures if p.name.endswith("a.png"))
    assert (again.working.hash == cups.working.hash) == (to == "zip")
    assert picture.mask
    if to != "zip":
        image = Image.open(again.objects.path(picture.sha256))
        assert (image.size, image.getcolors()) == ((40, 30), [(1200, (0, 0, 255))])
        assert Image.open(again.objects.path(picture.mask)).size == (40, 30)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('"a.png" = [0, 0, 99, 20]', "crop_invalid"),
        ('"a.png" = [0, 0, 20]', "crop_invalid"),
        ('"a.png" = "x"', "crop_invalid"),
        ("a.png = ", "layout_broken"),
    ],
)
def test_broken_files(text: str, code: str, cups: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(
        tmp_path / "q", {"a.png": png(7, 30, 30), "b.png": png(8), "crops.toml": text}
    )
    with pytest.raises(IntakeRefused) as caught:
        intake.import_into(Store().place("other"), [root])
    assert caught.value.codes == [code]


def test_a_crop_of_nothing_is_told(cups: StoredDataset, tmp_path: Path) -> None:
    text = '"../z.png" = [0, 0, 20, 20]\n'
    root = fill_folder(tmp_path / "q", {"a.png": png(7, 30, 30), "a.txt": "x", "crops.toml": text})
    found = intake.import_into(Store().place("other"), [root])
    assert [f.code for f in found.findings] == ["crop_without_picture"]


@given(st.text() | st.text("0123456789,- ", max_size=20))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        box = crops.parse(text)
    except CropInvalid as error:
        assert "as in 40,0,512,512" in str(error)
    else:
        assert ",".join(map(str, box)) == ",".join(str(int(part)) for part in text.split(","))


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["dataset", "crop", *map(str, arguments)])


def test_command(cups: StoredDataset) -> None:
    assert "loraloom dataset crop me --face" in invoke("--help").output
    sha256 = cups.working.pictures[1].sha256
    result = invoke("cups", sha256[:8], "--box", "2,2,20,16", "--json")
    assert json.loads(result.stdout)["crops"] == {sha256: [2, 2, 20, 16]}
    assert cups.working.pictures[1].crop == (2, 2, 20, 16)
    assert "2 pictures changed" in invoke("cups", "--whole").output
    assert not any(picture.crop for picture in cups.working.pictures)
    found = json.loads(invoke("cups", "--face", "--json").stdout)
    assert found == {"name": "cups", "crops": {}, "without_face": ["a.png", "b.png"]}
    assert invoke("cups").exit_code == 2
    assert isinstance(invoke("cups", "z.png", "--whole").exception, DatasetUnknown)
    assert isinstance(invoke("cups", "a.png", "--box", "1,2").exception, CropInvalid)
