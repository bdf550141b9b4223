"""Stored datasets: edits, snapshots, the bin, two processes, and `kill -9` at any moment."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.zips import fill_folder, png

from loraloom.dataset import intake, store
from loraloom.dataset.lock import locked
from loraloom.dataset.snapshot import Concept, Contents
from loraloom.dataset.store import Store
from loraloom.dataset.stored import KEPT_STATES, StoredDataset
from loraloom.errors import (
    DatasetBusy,
    DatasetDamaged,
    DatasetNameInvalid,
    DatasetUnknown,
    IntakeRefused,
    NothingToUndo,
)


def source(root: Path, *numbers: int, start: str = "cup") -> Path:
    for number in numbers:
        fill_folder(root, {f"{number}.png": png(number), f"{number}.txt": f"{start} {number}"})
    return root


@pytest.fixture
def cups(tmp_path: Path) -> StoredDataset:
    dataset = Store(tmp_path / "store").place("cups")
    intake.import_into(dataset, [source(tmp_path / "pics", 1, 2, 3)])
    return dataset


def captions(dataset: StoredDataset) -> list[str]:
    return [picture.caption for picture in dataset.working.pictures]


def test_pictures_are_kept_byte_for_byte(cups: StoredDataset) -> None:
    for number, picture in enumerate(cups.working.pictures, 1):
        assert cups.objects.path(picture.sha256).read_bytes() == png(number)


def test_import_again_adds_only_what_is_new(cups: StoredDataset, tmp_path: Path) -> None:
    shas = [picture.sha256 for picture in cups.working.pictures]
    cups.set_captions({shas[0]: "mine"})
    found = intake.import_into(cups, [source(tmp_path / "pics", 4)])
    assert (found.known, [p.name for p in found.pictures]) == (3, ["4.png"])
    assert captions(cups) == ["mine", "cup 2", "cup 3", "cup 4"]
    assert [f.code for f in found.findings] == ["known_picture"]
    assert intake.import_into(cups, [tmp_path / "pics"]).pictures == []


def test_a_refused_import_changes_nothing(cups: StoredDataset, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in cups.root.rglob("*") if path.is_file()}
    bad = fill_folder(tmp_path / "bad", {"a.png": png(9), "b.png": b"no picture"})
    with pytest.raises(IntakeRefused) as caught:
        intake.import_into(cups, [bad])
    assert caught.value.codes == ["not_an_image"]
    after = {path: path.read_bytes() for path in cups.root.rglob("*") if path.is_file()}
    assert after == before
    new = Store(tmp_path / "store").place("new")
    with pytest.raises(IntakeRefused):
        intake.import_into(new, [bad])
    assert Store(tmp_path / "store").names() == ["cups"]
    assert not new.root.exists()


def test_edits_and_undo(cups: StoredDataset) -> None:
    first = cups.working.pictures[0].sha256
    cups.set_captions({first: "red"})
    cups.move([first], "special")
    cups.set_concepts([Concept("special", "ohwx", 5)])
    cups.discard([first])
    assert [c.name for c in cups.working.concepts] == ["main"]
    undone = [cups.undo() for _ in range(4)]
    assert undone == ["took out 1 pictures", "concepts", "moved to special", "captions"]
    assert captions(cups) == ["cup 1", "cup 2", "cup 3"]
    assert cups.undo() == "imported 3 pictures"
    assert cups.working == Contents()
    with pytest.raises(NothingToUndo):
        cups.undo()


def test_undo_then_edit_goes_on_from_there(cups: StoredDataset) -> None:
    first = cups.working.pictures[0].sha256
    cups.set_captions({first: "a"})
    cups.set_captions({first: "b"})
    cups.undo()
    cups.set_captions({first: "c"})
    cups.undo()
    assert captions(cups)[0] == "a"


def test_only_so_many_states_are_kept(cups: StoredDataset) -> None:
    first = cups.working.pictures[0].sha256
    for number in range(KEPT_STATES + 5):
        cups.set_captions({first: str(number)})
    assert len(list(cups.root.glob("working/*.json"))) == KEPT_STATES + 1


def test_earlier_captions(cups: StoredDataset) -> None:
    sha, other = (picture.sha256 for picture in cups.working.pictures[:2])
    first = cups.working.pictures[0].caption
    whole = cups.snapshot()
    cups.set_captions({sha: "a second"}, "a caption")
    cups.set_captions({other: "of another"}, "another's")
    cups.set_captions({sha: "a third"}, "all captions")
    found = [(one.caption, one.edit, one.version) for one in cups.earlier_captions(sha)]
    assert found == [("a second", "all captions", ""), (first, "a caption", "")]
    for number in range(60):  # until the states that knew them are gone
        cups.set_captions({other: f"number {number}"})
    found = [(one.caption, one.edit, one.version) for one in cups.earlier_captions(sha)]
    assert found == [(first, "", whole)]
    assert cups.earlier_captions("0" * 64) == []


def test_edits_of_what_is_not_there(cups: StoredDataset) -> None:
    with pytest.raises(DatasetUnknown):
        cups.set_captions({"0" * 64: "x"})
    with pytest.raises(DatasetUnknown, match="Concepts: main"):
        cups.set_concepts([Concept("other")])
    with pytest.raises(DatasetNameInvalid):
        cups.move([cups.working.pictures[0].sha256], "../x")
    assert captions(cups) == ["cup 1", "cup 2", "cup 3"]


def test_snapshots_stay_and_are_restored(cups: StoredDataset) -> None:
    first = cups.working.pictures[0].sha256
    old = cups.snapshot("first")
    assert cups.snapshot("again") == old
    cups.set_captions({first: "other"})
    new = cups.snapshot()
    assert [info.hash for info in cups.snapshots()] == [old, new]
    assert cups.snapshots()[0].note == "first"
    cups.restore(old[:8])
    assert cups.working.hash == old
    assert cups.undo() == f"restored {old[:12]}"
    assert cups.working.hash == new
    for prefix in ("zzzz", old[:3], ""):
        with pytest.raises(DatasetUnknown):
            cups.read_snapshot(prefix)


def test_pictures_kept_both_stay_so_when_a_version_is_restored(cups: StoredDataset) -> None:
    first, second, third = (picture.sha256 for picture in cups.working.pictures)
    old = cups.snapshot()
    cups.keep_both(first, second)
    cups.set_captions({third: "other"})
    assert cups.restore(old).alike == ((min(first, second), max(first, second)),)
    assert cups.snapshot() == old
    cups.discard([first])
    assert cups.restore(old).alike == ((min(first, second), max(first, second)),)
    assert len(cups.snapshots()) == 1


def test_damage_is_told(cups: StoredDataset) -> None:
    old = cups.snapshot()
    path = cups.root / "snapshots" / f"{old}.json"
    text = path.read_text()
    path.write_text(text.replace("cup 1", "cup X"))
    with pytest.raises(DatasetDamaged):
        cups.read_snapshot(old)
    path.write_text(text[:50])
    with pytest.raises(DatasetDamaged, match="cannot be read"):
        cups.read_snapshot(old)
    picture = cups.working.pictures[0]
    cups.objects.path(picture.sha256).write_bytes(b"rotten")
    with pytest.raises(DatasetDamaged, match="not what was stored"):
        cups.objects.verify(picture.sha256, picture.name)


def test_the_bin(cups: StoredDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = Store(tmp_path / "store")
    before = cups.working
    datasets.remove("cups")
    assert datasets.names() == []
    with pytest.raises(DatasetUnknown):
        datasets.open("cups")
    assert datasets.recover("cups").working == before
    with pytest.raises(DatasetUnknown):
        datasets.recover("cups")
    datasets.remove("cups")
    later_ns = time.time_ns() + (store.BIN_DAYS + 1) * 24 * 3600 * 10**9
    monkeypatch.setattr(store.time, "time_ns", lambda: later_ns)
    with pytest.raises(DatasetUnknown):
        datasets.recover("cups")
    assert datasets.removed() == []


def test_names(cups: StoredDataset, tmp_path: Path) -> None:
    datasets = Store(tmp_path / "store")
    for name in ("Cups", "../x", ".bin", ".locks", ""):
        with pytest.raises(DatasetNameInvalid):
            datasets.place(name)
    for name in ("../store/cups", "cups/", "nowhere"):
        with pytest.raises(DatasetUnknown):
            datasets.open(name)


def test_two_processes_do_not_change_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    code = (
        "import sys, time; from pathlib import Path; from loraloom.dataset.lock import locked\n"
        f"with locked(Path({str(path)!r}), 'it'): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with (
            pytest.raises(DatasetBusy, match=f"by process {other.pid}"),
            locked(path, "it", wait_s=0),
        ):
            pass
        other.kill()
    with locked(path, "it", wait_s=0):
        pass


WORKER = """
import sys
from pathlib import Path
from loraloom.dataset import intake
from loraloom.dataset.store import Store
from loraloom.dataset.snapshot import Concept
root, rounds = Path(sys.argv[1]), int(sys.argv[2])
dataset = Store(root / "store").place("cups")
if dataset.exists:  # killed before its undo, an earlier worker left its round's captions
    dataset.set_captions({p.sha256: "a cup" for p in dataset.working.pictures})
print("ready", flush=True)
for number in range(rounds):
    intake.import_into(dataset, [root / "many"])
    first = dataset.working.pictures[number % 5].sha256
    dataset.set_captions({p.sha256: f"round {number}" for p in dataset.working.pictures})
    dataset.snapshot()
    dataset.undo()
    dataset.move([first], f"c{number % 2}")
    dataset.discard([p.sha256 for p in dataset.working.pictures[5:]])
"""


def worker(root: Path, rounds: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, str(root), str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def check_sound(dataset: StoredDataset) -> None:
    """Everything that a name leads to is whole; captions of one edit are there all or none."""
    for path in dataset.root.rglob("objects/*/*"):
        assert path.name in {path.name} and len(path.name) == 64
        dataset.objects.verify(path.name, path.name)
    if not dataset.exists:
        return
    states = [dataset.working, *(dataset.read_snapshot(i.hash) for i in dataset.snapshots())]
    for contents in states:
        for picture in contents.pictures:
            dataset.objects.verify(picture.sha256, picture.name)
        rounds = {p.caption for p in contents.pictures if p.caption.startswith("round")}
        assert len(rounds) <= 1
        assert not rounds or all(p.caption in rounds for p in contents.pictures)


def test_kill_at_any_moment(tmp_path: Path) -> None:
    """`kill -9` in the middle of imports, edits, undo and snapshots: the store stays sound."""
    source(tmp_path / "many", *range(12))
    dataset = Store(tmp_path / "store").place("cups")
    dice = random.Random(7)
    killed = 0
    for _ in range(int(os.environ.get("LORALOOM_KILLS", "12"))):
        with worker(tmp_path, 10_000) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(dice.uniform(0, 0.25))
            os.kill(process.pid, signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        check_sound(dataset)
    assert killed > 0
    intake.import_into(dataset, [tmp_path / "many"])
    assert len(dataset.working.pictures) == 12
    left = [p.name for p in dataset.root.rglob(".*")]
    assert left == [], "a killed process's leavings are swept by the next"


ADDER = """
import sys
from pathlib import Path
from loraloom.dataset import intake
from loraloom.dataset.store import Store
dataset = Store(Path(sys.argv[1]) / "store").place("cups")
for name in sys.argv[2:]:
    intake.import_into(dataset, [Path(name)])
"""


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    pictures = [fill_folder(tmp_path / "p", {f"{n}.png": png(n)}) / f"{n}.png" for n in range(16)]
    halves = [pictures[0::2], pictures[1::2]]
    commands = [[sys.executable, "-c", ADDER, str(tmp_path), *map(str, half)] for half in halves]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
    dataset = Store(tmp_path / "store").open("cups")
    assert {p.name for p in dataset.working.pictures} == {path.name for path in pictures}
    check_sound(dataset)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=st.lists(st.sampled_from(["caption", "move", "discard", "undo"]), max_size=12))
def test_undo_is_the_exact_inverse(
    edits: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a plain list of states."""
    root = tmp_path_factory.mktemp("undo")
    dataset = Store(root / "store").place("cups")
    intake.import_into(dataset, [source(root / "pics", 1, 2, 3)])
    states = [Contents(), dataset.working]
    for number, edit in enumerate(edits):
        shas = [p.sha256 for p in states[-1].pictures[:1]]
        if edit == "undo":
            if len(states) > 1:
                dataset.undo()
                states.pop()
        elif shas:
            if edit == "caption":
                dataset.set_captions({shas[0]: str(number)})
            elif edit == "move":
                dataset.move(shas, f"c{number}")
            else:
                dataset.discard(shas)
            states.append(dataset.working)
        assert dataset.working == states[-1]
