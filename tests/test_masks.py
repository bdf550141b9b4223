"""Masks: found beside pictures, kept with them, counted in the hash, written out again."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.test_layouts import Files, listing_of
from tests.zips import encoded, fill_folder, png

from loraloom.dataset import exports, intake, layouts, masks, reference
from loraloom.dataset.layouts.reading import Reading
from loraloom.dataset.snapshot import Concept, Contents, diff, from_json
from loraloom.dataset.source import SourceFile
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetDamaged, DatasetNameInvalid, IntakeRefused


def mask(level: int = 255, width_px: int = 24, height_px: int = 20) -> bytes:
    """Grey, with a black edge on the left."""
    image = Image.new("L", (width_px, height_px), level)
    image.paste(0, (0, 0, 4, height_px))
    return encoded(image)


def read(files: Files) -> Reading:
    return layouts.read(listing_of(files))


def pairs(reading: Reading) -> dict[str, str]:
    return {c.file.name: c.mask.name if c.mask else "" for c in reading.candidates}


def codes(reading: Reading) -> list[str]:
    return sorted(finding.code for finding in reading.findings)


@pytest.fixture
def cups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredDataset:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    return Store().place("cups")


MASKED: Files = {
    "a.png": png(1), "a.txt": "a red cup", "b.png": png(2), "b.txt": "a blue cup",
    "masks/a.png": mask(),
}  # fmt: skip


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.jpg": b"", "masks/a.png": b""}, {"a.jpg": "masks/a.png"}),
        ({"a.jpg": b"", "a-masklabel.png": b""}, {"a.jpg": "a-masklabel.png"}),
        ({"A.JPG": b"", "Masks/a.PNG": b""}, {"A.JPG": "Masks/a.PNG"}),
        ({"cat/1.png": b"", "dog/1.png": b"", "masks/cat/1.png": b""},
         {"cat/1.png": "masks/cat/1.png", "dog/1.png": ""}),
        ({"cat/1.png": b"", "dog/1.png": b"", "cat/masks/1.webp": b""},
         {"cat/1.png": "cat/masks/1.webp", "dog/1.png": ""}),
        # carnival masks: a concept of that name
        ({"masks/1.png": b"", "masks/1.txt": b"a mask", "1.png": b""},
         {"masks/1.png": "", "1.png": ""}),
        ({"masks/1.png": b"", "masks/2.png": b""}, {"masks/1.png": "", "masks/2.png": ""}),
    ],
)  # fmt: skip
def test_where_masks_lie(files: Files, expected: dict[str, str]) -> None:
    reading = read(files)
    assert pairs(reading) == expected
    assert codes(reading) == []


def test_masks_that_fit_nothing_are_told() -> None:
    reading = read({"a.png": b"", "masks/a.png": b"", "masks/z.png": b"", "y-masklabel.png": b""})
    assert pairs(reading) == {"a.png": "masks/a.png"}
    assert codes(reading) == ["mask_without_picture"] * 2
    reading = read({"a.png": b"", "a.jpg": b"", "masks/a.png": b"", "b.png": b"",
                    "masks/b.png": b"", "b-masklabel.png": b""})  # fmt: skip
    assert codes(reading) == ["ambiguous_mask"] * 2


def test_masks_that_others_name() -> None:
    toml = (
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir='in'\nconditioning_data_dir='/x/weights'\n"
    )
    reading = read({"d.toml": toml, "in/1.png": b"", "weights/1.png": b""})
    assert (pairs(reading), codes(reading)) == ({"in/1.png": "weights/1.png"}, [])
    job = "config: {process: [{datasets: [{folder_path: /y/in, mask_path: /y/weights}]}]}"
    reading = read({"job.yaml": job, "in/1.png": b"", "weights/1.jpg": b""})
    assert (pairs(reading), codes(reading)) == ({"in/1.png": "weights/1.jpg"}, [])
    row = json.dumps({"file_name": "1.png", "text": "x", "mask_file_name": "m/7.png"})
    reading = read({"metadata.jsonl": row, "1.png": b"", "m/7.png": b""})
    assert pairs(reading) == {"1.png": "m/7.png"}


@given(st.lists(st.text("abm/-", min_size=1, max_size=9) | st.sampled_from(
    ["masks", "masks/a", "a-masklabel", "masks/a-masklabel", "a/masks/masks/b", "masks/masks"]
), unique=True))  # fmt: skip
def test_every_file_is_a_picture_or_a_mask_or_told(names: list[str]) -> None:
    files = [SourceFile(f"{name}.png", lambda: iter(())) for name in names]
    found = masks.pair_up(files)
    told = {finding.item for finding in found.findings}
    taken = {file.name for file in (*found.files, *found.masks.values())}
    assert taken | told == {file.name for file in files}
    assert found.masks.keys() <= {file.name for file in files}


def test_import_and_snapshot(cups: StoredDataset, tmp_path: Path) -> None:
    intake.import_into(cups, [fill_folder(tmp_path / "p", MASKED)])
    a, b = cups.working.pictures
    assert a.mask == hashlib.sha256(mask()).hexdigest()
    assert cups.objects.path(a.mask).read_bytes() == mask()
    assert b.mask == ""
    whole = cups.snapshot()
    assert cups.read_snapshot(whole) == cups.working
    items = {item.sha256: item for item in reference.read(f"cups@{whole}").items}
    assert items[a.sha256].mask == cups.objects.path(a.mask)
    assert items[a.sha256].mask_sha256 == a.mask and items[b.sha256].mask is None


def test_hash_is_what_the_documentation_says(cups: StoredDataset, tmp_path: Path) -> None:
    """Computed here by hand; without masks it is what it was before there were any."""
    intake.import_into(cups, [fill_folder(tmp_path / "p", MASKED)])
    shas = [hashlib.sha256(png(number)).hexdigest() for number in (1, 2)]
    weight = hashlib.sha256(mask()).hexdigest()

    def digest(*extra: str) -> str:
        rows = sorted([[shas[0], "a red cup", "main", *extra], [shas[1], "a blue cup", "main"]])
        content = json.dumps({"concepts": [["main", "", 1]], "pictures": rows})
        return hashlib.sha256(content.encode()).hexdigest()

    assert cups.working.hash == digest(f"mask {weight}")
    without = Contents(tuple(replace(p, mask="") for p in cups.working.pictures),
                       cups.working.concepts)  # fmt: skip
    assert without.hash == digest()
    assert [a.name for a, _ in diff(without, cups.working).reframed] == ["a.png"]
    assert (without.to_json()["format"], cups.working.to_json()["format"]) == (1, 2)
    assert not {"mask", "crop", "frames", "fps", "duration_s"} & set(
        cast(list[dict[str, object]], without.to_json()["pictures"])[0]
    )
    tree = json.loads(json.dumps(cups.working.to_json()))
    tree["pictures"][0]["mask"] = "0" * 64
    with pytest.raises(DatasetDamaged):
        from_json(tree, "x")


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (mask(255, 20, 24), "mask_size", "is 20 × 24 px, its picture 24 × 20 px"),
        (b"no picture", "not_an_image", "masks/a.png"),
        (mask()[:60], "image_broken", "masks/a.png"),
    ],
)
def test_broken_masks(
    data: bytes, code: str, words: str, cups: StoredDataset, tmp_path: Path
) -> None:
    root = fill_folder(tmp_path / "p", MASKED | {"masks/a.png": data})
    with pytest.raises(IntakeRefused, match=words) as caught:
        intake.import_into(cups, [root])
    assert caught.value.codes == [code]
    assert not cups.root.exists()
    intake.import_into(cups, [root], skip_broken=True)
    assert [p.name for p in cups.working.pictures] == ["b.png"]
    assert not cups.objects.path(hashlib.sha256(data).hexdigest()).exists()


def test_a_black_mask_is_told(cups: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", MASKED | {"masks/a.png": mask(0)})
    found = intake.import_into(cups, [root])
    assert [f.code for f in found.findings] == ["mask_empty"]


def test_masks_of_turned_pictures_are_upright(cups: StoredDataset, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.new("RGB", (20, 24), "red"), "JPEG", exif=exif)
    root = fill_folder(tmp_path / "p", {"a.jpg": turned, "masks/a.png": mask(255, 24, 20)})
    assert intake.import_into(cups, [root]).pictures[0].mask


def test_masks_come_later(cups: StoredDataset, tmp_path: Path) -> None:
    """Pictures that are known get the masks they lack, and keep those that they have."""
    plain = {name: data for name, data in MASKED.items() if "masks" not in name}
    intake.import_into(cups, [fill_folder(tmp_path / "plain", plain)])
    root = fill_folder(tmp_path / "p", MASKED)
    found = intake.import_into(cups, [root])
    assert (found.known, len(found.pictures), len(found.masks)) == (2, 0, 1)
    assert [bool(p.mask) for p in cups.working.pictures] == [True, False]
    assert cups.last_edit == "imported 0 pictures, 1 masks"
    (root / "masks/a.png").write_bytes(mask(99))
    found = intake.import_into(cups, [root])
    assert [f.code for f in found.findings] == ["known_picture"]
    assert cups.working.pictures[0].mask == hashlib.sha256(mask()).hexdigest()
    (root / "masks/b.png").write_bytes(mask(255, 9, 9))
    with pytest.raises(IntakeRefused, match="has the size of its picture"):
        intake.import_into(cups, [root])


@pytest.mark.parametrize("form", ["kohya", "ai-toolkit", "diffusers", "diffusers-csv", "zip"])
@pytest.mark.parametrize("concepts", [["cup"], ["cup", "dish"]])
def test_round_trip(form: str, concepts: list[str], cups: StoredDataset, tmp_path: Path) -> None:
    files: Files = {}
    for number in range(6):
        place = f"{concepts[number % len(concepts)]}/{number}"
        files |= {f"3_{place}.png": png(number), f"3_{place}.txt": f"cup {number}"}
        if number != 3:
            files[f"masks/3_{place}.png"] = mask(100 + number)
    intake.import_into(cups, [fill_folder(tmp_path / "p", files)])
    assert sum(bool(p.mask) for p in cups.working.pictures) == 5
    target = tmp_path / ("out.zip" if form == "zip" else "out")
    kind = cast(exports.Format, form.removesuffix("-csv"))
    told = exports.export(cups.working, cups.objects, kind, target, as_csv="csv" in form)
    assert [line for line in told if "mask" in line] == {
        "kohya": [f"1 of {6 // len(concepts)} pictures of {concepts[-1]!r} have no mask; "
                  "sd-scripts wants one for each."],
        "diffusers": ["diffusers' scripts do not read masks."],
    }.get(kind, [])  # fmt: skip
    again = Store(tmp_path / "again").place("cups")
    found = intake.import_into(again, [target])
    assert again.working.hash == cups.working.hash
    assert found.findings == []


def test_damaged_masks_are_not_exported(cups: StoredDataset, tmp_path: Path) -> None:
    intake.import_into(cups, [fill_folder(tmp_path / "p", MASKED)])
    cups.objects.path(cups.working.pictures[0].mask).write_bytes(b"rotten")
    with pytest.raises(DatasetDamaged, match=r"the mask of a\.png"):
        exports.export(cups.working, cups.objects, "zip", tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_a_concept_called_masks(cups: StoredDataset, tmp_path: Path) -> None:
    intake.import_into(cups, [fill_folder(tmp_path / "p", MASKED)])
    cups.move([cups.working.pictures[0].sha256], "Masks")
    cups.set_concepts([Concept("Masks", "ohwx")])
    with pytest.raises(DatasetNameInvalid, match="the folder that masks go to"):
        exports.export(cups.working, cups.objects, "zip", tmp_path / "x.zip")


def test_levels(tmp_path: Path) -> None:
    """Grey as it is, whatever the file's mode; 16 bits scaled."""
    for image in (Image.new("L", (2, 2), 127), Image.new("RGB", (2, 2), (127,) * 3),
                  Image.fromarray(np.full((2, 2), 127 << 8, np.uint16)),
                  Image.new("1", (2, 2), 1)):  # fmt: skip
        found = masks.decode(encoded(image), "m.png")
        assert found.tolist() == [[255 if image.mode == "1" else 127] * 2] * 2
