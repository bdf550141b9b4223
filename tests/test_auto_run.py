"""A whole set described: written at once, taken back, stopped, killed and gone on with."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import clips
from tests.chat_server import Asked, Said, Server, error, serving

from loraloom.captions import journal
from loraloom.captions.auto.answer import Answer, Failure, Seen, Tag
from loraloom.captions.auto.draft import Order
from loraloom.captions.auto.kept import keeping
from loraloom.captions.auto.run import Done, Failed, describe
from loraloom.captions.lint import Check
from loraloom.captions.target import Target, find_target
from loraloom.dataset.checking import Checkers
from loraloom.dataset.intake import examine, list_source, store
from loraloom.dataset.snapshot import Concept
from loraloom.dataset.store import Store
from loraloom.errors import CaptionEditInvalid, DatasetBusy, FolderEmpty, ProviderFailed
from loraloom.kinds import Kind
from loraloom.settings import intake_limits

COLOURS = ("red", "green", "blue", "white", "black", "yellow")
ORDER = Order(Check(Kind.CHARACTER, "ohwx woman"), "tags", 0.35)


@dataclass
class Painter:
    """Says which colour a picture has; a stand-in for a model."""

    answer: Callable[[Seen], Answer | Failure] | None = None
    name: str = "painter"
    fingerprint: str = "painter"
    style: str = "tags"
    batch: int = 2
    frames: int = 1
    seen: list[Seen] = field(default_factory=list)

    def describe(self, seen: Sequence[Seen]) -> list[Answer | Failure]:
        self.seen += seen
        return [self.answer(s) if self.answer else colour_of(s) for s in seen]


def colour_of(seen: Seen) -> Answer:
    pixel = seen[0].getpixel((0, 0))
    names = {Image.new("RGB", (1, 1), name).getpixel((0, 0)): name for name in COLOURS}
    return Answer((Tag("1girl", 0.9), Tag("laughing", 0.9), Tag(f"{names[pixel]} hat", 0.9)))


def pictures(folder: Path, colours: Sequence[str] = COLOURS) -> Path:
    folder.mkdir()
    for number, colour in enumerate(colours, start=1):
        Image.new("RGB", (32, 24), colour).save(folder / f"{number:02d}.png")
    return folder


def run(target: Target, painter: Painter, order: Order = ORDER, *, replacing: bool = False) -> Done:
    *_, last = describe(target, painter, order, replacing=replacing)  # type: ignore[arg-type]
    assert isinstance(last, Done)
    return last


def captions(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text().strip() for path in sorted(folder.glob("*.txt"))}


def stored(folder: Path, name: str = "hats") -> Store:
    dataset = Store().place(name)
    listing = list_source([folder], intake_limits())
    with (
        dataset.changing(),
        Checkers() as check,
        examine(dataset, listing, uncaptioned="keep", check=check) as found,
    ):
        store(dataset, found)
    return Store()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))


def test_a_folder_is_described_and_taken_back(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in")
    done = run(find_target(str(folder)), Painter())
    assert captions(folder) == {
        f"{n:02d}": f"ohwx woman, laughing, {colour} hat" for n, colour in enumerate(COLOURS, 1)
    }
    assert (done.skipped, done.failed) == (0, ())
    assert {finding.code for finding in done.findings} == {"incomplete", "too-brief"}
    assert journal.undo(folder) == ("automatic captions", 6)
    assert captions(folder) == {}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["in"]


def test_captions_that_are_there_stay_unless_replaced(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["red", "green", "blue"])
    (folder / "01.txt").write_text("ohwx woman, my own words\n")
    (folder / "02.txt").write_text("ohwx woman\n")  # nothing is said
    (folder / "03.caption").write_text("\n")
    target, painter = find_target(str(folder)), Painter()
    assert run(target, painter).skipped == 1
    assert captions(folder) == {
        "01": "ohwx woman, my own words", "02": "ohwx woman, laughing, green hat"
    }  # fmt: skip
    assert (folder / "03.caption").read_text() == "ohwx woman, laughing, blue hat\n"
    assert run(target, painter).captions == {} and len(painter.seen) == 2
    run(target, painter, replacing=True)
    assert captions(folder)["01"] == "ohwx woman, laughing, red hat"


def test_a_broken_picture_in_the_middle_fails_alone(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in")
    whole = (folder / "03.png").read_bytes()
    (folder / "03.png").write_bytes(whole[:40])
    target, painter = find_target(str(folder)), Painter()
    done = run(target, painter)
    assert [failed.item for failed in done.failed] == ["03.png"]
    assert done.failed[0].reason and "03.png" not in done.failed[0].reason
    assert list(captions(folder)) == ["01", "02", "04", "05", "06"]
    (folder / "03.png").write_bytes(whole)
    assert list(run(target, painter).captions) == ["03.png"] and len(painter.seen) == 6


def test_a_failed_answer_and_an_empty_one_are_listed(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["red", "green", "blue"])
    told = iter(
        [Failure("too dark"), Answer((Tag("1girl", 0.9),)), Answer((Tag("laughing", 0.9),))]
    )
    done = run(find_target(str(folder)), Painter(lambda _: next(told)))
    reasons = {failed.item: failed.reason for failed in done.failed}
    assert reasons["01.png"] == "too dark" and "describe it yourself" in reasons["02.png"]
    assert captions(folder) == {"03": "ohwx woman, laughing"}


def test_a_run_that_broke_off_goes_on(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in")

    def once(seen: Seen) -> Answer:
        if len(first.seen) > 4:
            raise ProviderFailed("gone")
        return colour_of(seen)

    first, second = Painter(once), Painter()
    with pytest.raises(ProviderFailed):
        run(find_target(str(folder)), first)
    assert captions(folder) == {}
    run(find_target(str(folder)), second)
    assert len(second.seen) == 2 and len(captions(folder)) == 6


def test_answers_of_another_captioner_are_not_taken(tmp_path: Path) -> None:
    path, answer = tmp_path / "[kept]", Answer((Tag("cat", 0.5, names=True),))
    with keeping(path, "a") as kept:
        kept.add("picture", answer)
    (file,) = tmp_path.iterdir()
    with file.open("a") as stream:
        stream.write('{"picture": "half')  # as a killed process leaves it
    with keeping(path, "a") as kept:
        assert kept.get("picture") == answer and len(kept) == 1
        kept.add("other", Answer(text="一隻貓"))
    with keeping(path, "a") as kept:
        assert kept.get("other") == Answer(text="一隻貓") and len(kept) == 2
    with keeping(path, "b") as kept:
        assert len(kept) == 0
    assert list(tmp_path.iterdir()) == [file]  # what another one said is not lost
    with keeping(path, "b") as kept:
        kept.add("picture", answer)
        kept.forget()
    assert not list(tmp_path.iterdir())


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    target = find_target(str(pictures(tmp_path / "in")))
    with keeping(target.answers_at, "a"), pytest.raises(DatasetBusy, match="process"):
        run(target, Painter())


def test_a_caption_written_meanwhile_is_left_alone(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["red", "green"])

    def meanwhile(seen: Seen) -> Answer:
        (folder / "02.txt").write_text("my own words\n")
        return colour_of(seen)

    done = run(find_target(str(folder)), Painter(meanwhile))
    assert captions(folder) == {"01": "ohwx woman, laughing, red hat", "02": "my own words"}
    assert done.failed == (Failed("02.png", "was changed meanwhile, and left as it is"),)


def test_hair_is_said_where_it_changes(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in")
    hair = iter(["ponytail", "hair down", "ponytail"] * 2)
    painter = Painter(lambda _: Answer((Tag("laughing", 0.9), Tag(next(hair), 0.9))))
    run(find_target(str(folder)), painter)
    assert captions(folder)["01"] == "ohwx woman, laughing, ponytail"
    assert captions(folder)["02"] == "ohwx woman, laughing, hair down"
    one = Painter(lambda _: Answer((Tag("laughing", 0.9), Tag("ponytail", 0.9))))
    run(find_target(str(folder)), one, replacing=True)
    assert set(captions(folder).values()) == {"ohwx woman, laughing"}


def test_one_form_is_used_over_the_set(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["red", "green", "blue"])
    light = iter(["soft light", "soft lighting", "soft lighting"])
    run(find_target(str(folder)), Painter(lambda _: Answer((Tag(next(light), 0.9),))))
    assert set(captions(folder).values()) == {"ohwx woman, soft lighting"}


def test_a_stored_dataset_is_described_in_one_step(tmp_path: Path) -> None:
    dataset = stored(pictures(tmp_path / "in")).open("hats")
    done = run(find_target("hats"), Painter())
    assert {p.name: p.caption for p in dataset.working.pictures} == done.captions
    assert len(done.captions) == 6 and dataset.last_edit == "automatic captions"
    assert dataset.undo() == "automatic captions"
    assert {p.caption for p in dataset.working.pictures} == {""}
    assert not list(dataset.root.glob("*auto-captions*"))


def test_each_concept_has_its_own_trigger(tmp_path: Path) -> None:
    dataset = stored(pictures(tmp_path / "in", ["red", "green"])).open("hats")
    first, second = dataset.working.pictures
    dataset.move([second.sha256], "b")
    dataset.set_concepts([Concept(first.concept, "aaa woman"), Concept("b", "bbb man")])
    plain = replace(ORDER, check=Check(Kind.CHARACTER))
    found = run(find_target("hats"), Painter(), plain).captions
    assert sorted(found.values()) == [
        "aaa woman, laughing, red hat",
        "bbb man, laughing, green hat",
    ]
    with pytest.raises(CaptionEditInvalid, match=r"trigger 'aaa woman', and --trigger says"):
        run(find_target("hats"), Painter())


def test_pictures_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for concept, colour in (("a", "red"), ("b", "green")):
        pictures(tmp_path / "in" / concept, [colour])
    stored(tmp_path / "in")
    assert run(find_target("hats"), Painter()).captions == {
        "a/01.png": "ohwx woman, laughing, red hat", "b/01.png": "ohwx woman, laughing, green hat"
    }  # fmt: skip


def test_only_the_part_that_is_used_is_shown(tmp_path: Path) -> None:
    dataset = stored(pictures(tmp_path / "in", ["red"])).open("hats")
    dataset.edit(
        lambda c: replace(c, pictures=(replace(c.pictures[0], crop=(2, 3, 20, 16)),)), "cropped"
    )
    painter = Painter()
    run(find_target("hats"), painter)
    assert painter.seen[0][0].size == (20, 16)


def test_a_clip_is_shown_by_its_frames(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    frames = [clips.numbered(number, 64, 48) for number in range(12)]
    clips.write_clip(folder / "walk.mp4", frames)
    painter = Painter(lambda _: Answer((Tag("walking", 0.9),)), frames=3)
    assert run(find_target(str(folder)), painter).captions == {"walk.mp4": "ohwx woman, walking"}
    shown = [clips.number_of(np.asarray(frame)) for frame in painter.seen[0]]
    assert shown == [2, 6, 10]
    assert captions(folder) == {"walk": "ohwx woman, walking"}


def test_a_snapshot_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    dataset = stored(pictures(tmp_path / "in", ["red"])).open("hats")
    with pytest.raises(CaptionEditInvalid, match="never changes"):
        find_target(f"hats@{dataset.snapshot()}")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("words")
    with pytest.raises(FolderEmpty, match="no picture to describe"):
        run(find_target(str(tmp_path / "texts")), Painter())


def command(server: Server, folder: Path) -> list[str]:
    words = ["caption", "auto", str(folder), "--kind", "character", "--trigger", "ohwx woman"]
    asked = ["--provider", server.address, "--model", "llava", "--json"]
    return [sys.executable, "-c", "from loraloom.cli import main; main()", *words, *asked]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    folder = pictures(tmp_path / "in")
    stuck, free = threading.Event(), threading.Event()

    def answer(asked: Asked, number: int) -> Said:
        if number == 3:
            stuck.set()
            return Said("late", wait=free)
        return Said("A woman laughing in a park.")

    with serving(answer) as server:
        heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also in the background
        process = subprocess.Popen(
            command(server, folder), stderr=subprocess.PIPE, preexec_fn=heard
        )
        assert stuck.wait(60)
        time.sleep(0.1)
        process.send_signal(how)
        _, told = process.communicate(timeout=20)
        assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
        assert how == signal.SIGKILL or b"Stopped. To go on: loraloom caption auto" in told
        assert b"Traceback" not in told
        free.set()
        assert captions(folder) == {}
        again = subprocess.run(command(server, folder), capture_output=True, timeout=60, check=True)
    assert len(json.loads(again.stdout)["captions"]) == 6
    assert len(server.asked) == 4 + 3  # three were kept, the fourth is asked again
    assert set(captions(folder).values()) == {"ohwx woman laughing in a park."}
    assert not [path for path in tmp_path.iterdir() if "auto-captions" in path.name]


def test_a_server_in_trouble_costs_one_picture(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", ["red", "green", "blue"])

    def answer(asked: Asked, number: int) -> Said:
        return error(400, "bad picture") if number == 1 else Said("A woman laughing.")

    with serving(answer) as server:
        done = subprocess.run(command(server, folder), capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["failed"] == [{"item": "02.png", "reason": "it answered 400 (bad picture)"}]
    assert list(captions(folder)) == ["01", "03"]
