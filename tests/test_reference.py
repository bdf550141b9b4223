"""Training from a stored dataset: what a name means, and what the run then names."""

import json
from pathlib import Path

import pytest
from tests import tiny
from tests.zips import fill_folder, png

from loraloom import train
from loraloom.cli.train import read_source
from loraloom.config_tree import read_toml
from loraloom.dataset import intake, reference
from loraloom.dataset.buckets import Bucket, plan_crop
from loraloom.dataset.snapshot import Concept
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetDamaged, DatasetProblems, DatasetUnknown, FolderMissing
from loraloom.train.batches import Example, plan
from loraloom.train.setup import prepare


@pytest.fixture
def cups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredDataset:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    root = fill_folder(
        tmp_path / "pics",
        {"a/1.png": png(1, 64, 64), "a/1.txt": "a cup", "a/2.png": png(2, 64, 64),
         "a/2.txt": "ohwx cup", "b/3.png": png(3, 64, 64), "b/3.txt": "a pot"},
    )  # fmt: skip
    dataset = Store().place("cups")
    intake.import_into(dataset, [root])
    dataset.set_concepts([Concept("a", "ohwx", 3)])
    return dataset


def test_a_name_is_pinned_to_a_snapshot(cups: StoredDataset) -> None:
    pinned = reference.pin("cups")["data"]["folder"]
    assert pinned == f"cups@{cups.working.hash}"
    cups.set_captions({cups.working.pictures[0].sha256: "edited"})
    assert reference.read(pinned).snapshot == pinned.partition("@")[2]
    assert "edited" not in [item.caption for item in reference.read(pinned).items]
    assert reference.pin(pinned[:14])["data"]["folder"] == pinned
    assert reference.count("cups") == 3


def test_captions_have_their_concept_s_trigger(cups: StoredDataset) -> None:
    items = reference.read("cups").items
    assert [(item.caption, item.repeats) for item in items] == [
        ("ohwx, a cup", 3), ("ohwx cup", 3), ("a pot", 1)
    ]  # fmt: skip
    (note,) = reference.read("cups").notes
    assert note.startswith("1 captions of the concept 'a' lacked its trigger 'ohwx'")


def test_a_lone_concept_gives_the_trigger(cups: StoredDataset) -> None:
    cups.move([p.sha256 for p in cups.working.pictures], "a")
    assert reference.pin("cups")["trigger"] == "ohwx"


def test_a_folder_of_that_name_goes_first(cups: StoredDataset, tmp_path: Path) -> None:
    fill_folder(tmp_path / "cups", {"z.png": png(7), "z.txt": "z"})
    assert reference.pin("cups") == {}
    dataset = reference.read("cups")
    assert ([item.caption for item in dataset.items], dataset.snapshot) == (["z"], "")


def test_what_is_wrong_is_told(cups: StoredDataset) -> None:
    with pytest.raises(FolderMissing):
        reference.read("nowhere")
    with pytest.raises(DatasetUnknown):
        reference.read("cups@0123456789")
    shas = [picture.sha256 for picture in cups.working.pictures]
    cups.set_captions({shas[0]: ""})
    with pytest.raises(DatasetProblems, match=r"a/1\.png: has no caption"):
        reference.read("cups")
    cups.undo()
    cups.objects.path(shas[1]).write_bytes(b"rotten")
    with pytest.raises(DatasetDamaged):
        reference.read("cups")


def test_repeats_decide_how_often_a_picture_comes() -> None:
    crop = plan_crop(64, 64, Bucket(64, 64))
    examples = [Example(Path("x"), str(n), "x", crop, repeats=n) for n in (1, 2, 5)]
    picked = [e for batch in plan(examples, 2, 40, 0.0, seed=1) for e in batch]
    assert {e.repeats: picked.count(e) for e in examples} == {1: 10, 2: 20, 5: 50}


def test_a_run_names_its_snapshot_and_resumes_it(cups: StoredDataset, tmp_path: Path) -> None:
    config = tiny.config(tiny.save_base(tmp_path / "base"), Path("cups"), trigger="")
    pinned = f"cups@{cups.working.hash}"
    assert str(config.data.folder) == pinned
    cups.set_captions({cups.working.pictures[0].sha256: "edited meanwhile"})
    list(train.run(config, tmp_path / "out"))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["identity"]["snapshot"] == pinned.partition("@")[2]
    assert read_toml(tmp_path / "out" / "config.toml")["data"]["folder"] == pinned
    setup = prepare(config, tmp_path / "out")
    assert sorted(e.repeats for e in (*setup.examples, *setup.held_out)) == [1, 3, 3]


def test_the_command_takes_a_name(cups: StoredDataset) -> None:
    assert read_source(Path("cups")) == {"data": {"folder": "cups"}}
    with pytest.raises(FolderMissing, match="a stored dataset"):
        read_source(Path("pots"))
