"""`dataset prepare` as a whole: the folder that is written, clips, killing, the command line."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import clips as make
from tests.test_clips import BROKEN
from tests.test_masks import mask
from tests.zips import encoded, fill_folder, png
from typer.testing import CliRunner

from loraloom import cli
from loraloom.dataset import intake
from loraloom.dataset.clips import inspect, open_clip, upright_rgb
from loraloom.dataset.lock import locked
from loraloom.dataset.prepare import pictures
from loraloom.dataset.prepare.plan import Plan
from loraloom.dataset.prepare.run import Prepared, prepare
from loraloom.dataset.snapshot import Concept
from loraloom.dataset.store import Store
from loraloom.errors import (
    ConfigInvalid,
    DatasetBusy,
    DatasetProblems,
    FolderEmpty,
    FolderMissing,
    LoraloomError,
    OutputExists,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cups(tmp_path: Path) -> Path:
    files: dict[str, bytes | str] = {"masks/1.png": mask(255, 24, 20)}
    for number in range(3):
        files |= {f"{number}.png": png(number), f"{number}.txt": f"cup {number}"}
    return fill_folder(tmp_path / "cups", files)


def tree(root: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def names_in(folder: Path) -> set[str]:
    """What a folder holds."""
    return {path.name for path in folder.iterdir()}


def codes(done: Prepared) -> list[tuple[str, str]]:
    return [(finding.item, finding.code) for finding in done.findings]


class TestFolder:
    def test_the_source_stays_and_captions_go_along(self, cups: Path, tmp_path: Path) -> None:
        before = tree(cups)
        prepare(str(cups), tmp_path / "out", Plan(fit=True))
        assert tree(cups) == before
        names = {"0.png", "0.txt", "1.png", "1.txt", "2.png", "2.txt", "masks/1.png",
                 "prepared.json"}  # fmt: skip
        assert tree(tmp_path / "out").keys() == names
        assert (tmp_path / "out/2.txt").read_text() == "cup 2\n"
        record = json.loads((tmp_path / "out/prepared.json").read_text())
        assert record["asked"] == {"fit": True}
        assert [row["from"] for row in record["items"]] == ["0.png", "1.png", "2.png"]
        assert names_in(tmp_path) == {"cups", "out"}

    def test_concepts_and_layouts(self, tmp_path: Path) -> None:
        """What other programs' layouts say of captions and repeats is not lost."""
        row = json.dumps({"file_name": "x/2.png", "text": "two", "concept": "B", "num_repeats": 4})
        root = fill_folder(
            tmp_path / "p", {"metadata.jsonl": row, "x/2.png": png(2), "5_ohwx cup/1.png": png(1)}
        )
        prepare(str(root), tmp_path / "out", Plan(png=True))
        again = Store().place("again")
        intake.import_into(again, [tmp_path / "out"])
        direct = Store().place("direct")
        intake.import_into(direct, [root])
        assert {(p.caption, p.concept) for p in again.working.pictures} == {
            (p.caption, p.concept) for p in direct.working.pictures
        }
        assert sorted(c.name for c in again.working.concepts) == ["B", "main"]
        assert Concept("B", "", 4) in again.working.concepts

    def test_a_stored_dataset(self, cups: Path, tmp_path: Path) -> None:
        """Untouched, it comes back with the same hash, masks too; a snapshot can be named."""
        stored = Store().place("mugs")
        intake.import_into(stored, [cups])
        old = stored.snapshot()
        stored.set_captions({stored.working.pictures[0].sha256: "other"})
        done = prepare(f"mugs@{old[:8]}", tmp_path / "out", Plan(preview=True))
        assert done.title == f"mugs@{old[:12]}"
        again = Store().place("again")
        intake.import_into(again, [tmp_path / "out"])
        assert again.working.hash == old
        prepare("mugs", tmp_path / "out2", Plan(preview=True))
        assert (tmp_path / "out2/0.txt").read_text() == "other\n"

    def test_masks_for_a_stored_dataset(self, cups: Path, tmp_path: Path) -> None:
        """Made by `prepare`, taken in by `import` for the very pictures."""
        picture = Image.new("RGBA", (40, 30), (9, 9, 9, 0))
        picture.paste((200, 0, 0, 255), (10, 5, 30, 25))
        root = fill_folder(tmp_path / "p", {"a.png": encoded(picture), "a.txt": "x"})
        stored = Store().place("mugs")
        intake.import_into(stored, [root])
        prepare("mugs", tmp_path / "out", Plan(masks="alpha"))
        found = intake.import_into(stored, [tmp_path / "out"])
        assert (found.known, len(stored.working.pictures)) == (1, 1)
        assert stored.working.pictures[0].mask

    def test_what_is_not_overwritten(self, cups: Path, tmp_path: Path) -> None:
        mine = fill_folder(tmp_path / "mine", {"letter.txt": "dear"})
        inside = "lie in each other"
        for out, words in (
            (mine, "did not write"), (cups, inside), (cups / "new", inside), (tmp_path, inside)
        ):  # fmt: skip
            with pytest.raises(OutputExists, match=words):
                prepare(str(cups), out, Plan(png=True), replace=True)
        assert tree(mine) == {"letter.txt": b"dear"}
        (tmp_path / "empty").mkdir()
        prepare(str(cups), tmp_path / "empty", Plan(png=True))
        with pytest.raises(OutputExists, match="--replace writes it anew"):
            prepare(str(cups), tmp_path / "empty", Plan(png=True))
        prepare(str(cups), tmp_path / "empty", Plan(fit=True), replace=True)
        assert Image.open(tmp_path / "empty/0.png").size == (136, 120)
        assert not [name for name in names_in(tmp_path) if name.startswith(".")]

    def test_sources_that_are_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FolderMissing, match="or name a stored dataset"):
            prepare("nowhere", tmp_path / "out", Plan(png=True))
        (tmp_path / "e").mkdir()
        with pytest.raises(FolderEmpty):
            prepare("e", tmp_path / "out", Plan(png=True))
        with pytest.raises(ConfigInvalid, match=r"ends in \.png"):
            prepare("e", tmp_path / "out", Plan(preview=True), sheet=tmp_path / "s.jpg")
        with pytest.raises(ConfigInvalid, match="among the pictures"):
            prepare("e", tmp_path / "out", Plan(preview=True), sheet=tmp_path / "e/s.png")
        assert names_in(tmp_path) == {"e"}


class TestGoingOn:
    def test_a_stopped_run_goes_on(
        self, cups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was done is not done again, unless another thing is asked for."""
        opened: list[str] = []
        real = pictures.prepare_picture

        def fail_at_2(entry: Any, *rest: Any) -> Any:
            opened.append(entry.name)
            if entry.name == "2.png" and opened.count("2.png") == 1:
                raise KeyboardInterrupt
            return real(entry, *rest)

        monkeypatch.setattr(pictures, "prepare_picture", fail_at_2)
        with pytest.raises(KeyboardInterrupt):
            prepare(str(cups), tmp_path / "out", Plan(fit=True))
        assert not (tmp_path / "out").exists()
        prepare(str(cups), tmp_path / "out", Plan(fit=True))
        assert sorted(opened) == ["0.png", "1.png", "2.png", "2.png"]
        undisturbed = tmp_path / "other"
        prepare(str(cups), undisturbed, Plan(fit=True))
        assert tree(tmp_path / "out") == tree(undisturbed)

    def test_other_wishes_start_anew(
        self, cups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = pictures._take

        def stop_at_2(job: Any, number: int, *rest: Any) -> None:
            if number == 2:
                raise KeyboardInterrupt
            real(job, number, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(pictures, "_take", stop_at_2)
            with pytest.raises(KeyboardInterrupt):
                prepare(str(cups), tmp_path / "out", Plan(fit=True))
        assert (tmp_path / ".out.part/0.png").is_file()
        (cups / "0.png").unlink()
        (cups / "0.txt").unlink()
        prepare(str(cups), tmp_path / "out", Plan(png=True))
        assert tree(tmp_path / "out").keys() == {"1.png", "1.txt", "2.png", "2.txt", "masks/1.png",
                                                 "prepared.json"}  # fmt: skip
        assert Image.open(tmp_path / "out/1.png").size == (24, 20)

    def test_kill_at_any_moment(self, cups: Path, tmp_path: Path) -> None:
        """`kill -9`: the folder is not there or whole, and the next run brings it to an end."""
        noise = Image.effect_noise((500, 400), 90).convert("RGB")
        for number in range(3, 9):
            (cups / f"{number}.jpg").write_bytes(encoded(noise.rotate(number), "JPEG"))
        make.write_clip(cups / "a.mp4", 60, size=(320, 240))
        plan = "Plan(fit=True, frames=True, clip_seconds=(1, 2))"
        code = (
            "import sys; from pathlib import Path;"
            "from loraloom.dataset.prepare.run import prepare;"
            "from loraloom.dataset.prepare.plan import Plan; print('go', flush=True);"
            f"[prepare(sys.argv[1], Path(sys.argv[2]), {plan}, base='wan', replace=True) "
            "for _ in range(99)]"
        )
        prepare(str(cups), tmp_path / "whole", Plan(fit=True, frames=True, clip_seconds=(1, 2)),
                base="wan")  # fmt: skip
        expected = tree(tmp_path / "whole")
        assert [name for name in expected if name.startswith("a-01/")]
        dice = random.Random(5)
        out = tmp_path / "out"
        killed = 0
        for _ in range(int(os.environ.get("LORALOOM_KILLS", "4"))):
            command = [sys.executable, "-c", code, str(cups), str(out)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(dice.uniform(0, 1.2))
                os.kill(process.pid, signal.SIGKILL)
            killed += process.returncode == -signal.SIGKILL
            if out.exists():
                assert tree(out) == expected
        assert killed
        prepare(str(cups), out, Plan(fit=True, frames=True, clip_seconds=(1, 2)), base="wan",
                replace=True)  # fmt: skip
        assert tree(out) == expected
        assert {name for name in names_in(tmp_path) if name.startswith(".out")} == set()

    def test_one_at_a_time(self, cups: Path, tmp_path: Path) -> None:
        part = tmp_path / ".out.part"
        part.mkdir()
        with (
            locked(part / ".lock", "it"),
            pytest.raises(DatasetBusy, match="is being changed by process"),
        ):
            prepare(str(cups), tmp_path / "out", Plan(png=True))


def frames_of(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


class TestClips:
    def test_one_rate_by_time_stamps(self, tmp_path: Path) -> None:
        """Uneven frames at 8 a second: each is the one whose time is nearest."""
        times = [0, 0.05, 0.1, 0.3, 0.35, 0.6, 0.9, 1.0, 1.1, 1.2]
        root = tmp_path / "p"
        root.mkdir()
        make.write_clip(root / "a.mkv", [make.numbered(n, 64, 48) for n in range(10)], times=times,
                        options={"qp": "1"})  # fmt: skip
        (root / "a.txt").write_text("a cup falls")
        done = prepare(str(root), tmp_path / "out", Plan(fps=8, frames=True))
        found = [make.number_of(frame) for frame in frames_of(tmp_path / "out/a")]
        expected = [min(range(10), key=lambda n: (abs(times[n] - k / 8), -n))
                    for k in range(len(found))]  # fmt: skip
        assert found == expected
        assert len(found) == 10  # 1.2 s and one frame more
        assert (tmp_path / "out/a.txt").read_text() == "a cup falls\n"
        assert done.fps == 8

    def test_cut_at_shots(self, tmp_path: Path) -> None:
        """Three seconds of red, then three of blue: two clips, neither with both."""
        root = tmp_path / "p"
        root.mkdir()
        make.write_clip(root / "a.mp4", 144, fps=24)
        plan = Plan(clip_seconds=(2, 5), fps=12)
        done = prepare(str(root), tmp_path / "out", plan)
        assert [w.file for w in done.written] == ["a-01.mp4", "a-02.mp4"]
        for name, colour in (("a-01", make.RED), ("a-02", make.BLUE)):
            path = tmp_path / f"out/{name}.mp4"
            found = inspect(path, name)
            assert (found.frames, found.fps, found.notes, found.duration_s) == (36, 12, (), 3)
            with open_clip(path, name) as clip:
                for _, frame in clip.frames():
                    rgb = upright_rgb(clip, frame)
                    assert np.abs(rgb.mean((0, 1)) - colour).max() < 8

    @pytest.mark.parametrize(("base", "frames", "size"), [
        ("wan", 33, (832, 464)), ("hunyuan-video", 33, (1280, 720)), ("cogvideox", 33, (720, 400))
    ])  # fmt: skip
    def test_frames_as_a_base_takes_them(
        self, base: str, frames: int, size: tuple[int, int], tmp_path: Path
    ) -> None:
        root = tmp_path / "p"
        root.mkdir()
        make.write_clip(root / "a.mp4", [make.plain(make.RED, 1280, 720)] * 36, size=(1280, 720))
        done = prepare(str(root), tmp_path / "out", Plan(fit=True, frames=True), base=base)
        (written,) = done.written
        assert (written.frames, written.width_px, written.height_px) == (frames, *size)
        found = frames_of(tmp_path / "out/a")
        assert (len(found), found[0].shape) == (frames, (size[1], size[0], 3))

    def test_turned_clips_are_upright(self, tmp_path: Path) -> None:
        root = tmp_path / "p"
        root.mkdir()
        frame = make.plain(make.BLUE, 96, 64)
        frame[:32] = make.RED
        make.write_clip(root / "a.mp4", [frame] * 4, size=(96, 64), turned=90)
        prepare(str(root), tmp_path / "out", Plan(fps=24, frames=True))
        found = frames_of(tmp_path / "out/a")
        assert len(found) == 4
        assert np.abs(found[0].astype(int) - np.rot90(frame)).mean() < 12

    def test_nothing_to_do_is_a_copy(self, tmp_path: Path) -> None:
        root = fill_folder(tmp_path / "p", {"a.png": png(1)})
        data = make.write_clip(root / "a.webm", codec="libvpx-vp9").read_bytes()
        done = prepare(str(root), tmp_path / "out", Plan(fps=24))
        assert (tmp_path / "out/a-2.webm").read_bytes() == data
        assert [w.changed for w in done.written] == [False, False]

    def test_one_rate_a_set(self, tmp_path: Path) -> None:
        root = tmp_path / "p"
        root.mkdir()
        make.write_clip(root / "a.mp4", fps=24)
        make.write_clip(root / "b.mp4", fps=30)
        with pytest.raises(ConfigInvalid, match="have 24, 30 frames a second"):
            prepare(str(root), tmp_path / "out", Plan(frames=True))
        assert names_in(tmp_path) == {"p"}
        prepare(str(root), tmp_path / "copy", Plan(png=True))
        done = prepare(str(root), tmp_path / "out", Plan(fps=24))
        assert [inspect(tmp_path / "out" / w.file, w.file).fps for w in done.written] == [24, 24]
        assert [w.changed for w in done.written] == [False, True]

    def test_short_shots_are_told(self, tmp_path: Path) -> None:
        root = tmp_path / "p"
        root.mkdir()
        make.write_clip(root / "a.mp4", 48, fps=24)
        make.write_clip(root / "b.mp4", [make.plain(make.RED, 64, 48)] * 60, fps=24)
        done = prepare(str(root), tmp_path / "out", Plan(clip_seconds=(2, 5)))
        assert codes(done) == [("a.mp4", "shot_too_short")] * 2 + [("a.mp4", "clip_left_out")]
        assert [w.file for w in done.written] == ["b.mp4"]

    def test_broken_clips_are_told_together(self, tmp_path: Path) -> None:
        root = tmp_path / "p"
        root.mkdir()
        make.write_clip(root / "good.mp4")
        for name in ("sound.mp4", "cut.mp4", "concat.mp4", "long.mp4"):
            BROKEN[name][0](root / name)
        with pytest.raises(DatasetProblems) as caught:
            prepare(str(root), tmp_path / "out", Plan(frames=True))
        told = [line.split(":")[0] for line in caught.value.problems]
        assert told == ["concat.mp4", "cut.mp4", "long.mp4", "sound.mp4"]
        done = prepare(str(root), tmp_path / "out", Plan(frames=True), skip_broken=True)
        assert [w.file for w in done.written] == ["good-01", "good-02"]

    def test_gifs_move_on_demand(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (32, 32), c) for c in ("red", "green", "blue")]
        data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
        root = fill_folder(tmp_path / "p", {"a.gif": data})
        prepare(str(root), tmp_path / "still", Plan(png=True))
        assert (tmp_path / "still/a.png").is_file()
        prepare(str(root), tmp_path / "out", Plan(frames=True), moving_gifs=True)
        assert len(frames_of(tmp_path / "out/a")) == 3


class TestCommand:
    def invoke(self, *arguments: object) -> Any:
        return CliRunner().invoke(cli.app, ["dataset", "prepare", *map(str, arguments)])

    def test_help_shows_an_example(self) -> None:
        result = self.invoke("--help")
        assert result.exit_code == 0
        assert "loraloom dataset prepare cups --out ready" in result.output

    def test_json(self, cups: Path) -> None:
        make.write_clip(cups / "a.mp4")
        result = self.invoke(
            cups, "--out", "out", "--fit", "--frames", "--preview", "s.png", "--json"
        )
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["buckets"] == {"136 × 120": 3}
        assert found["preview"] == ["s.png"]
        assert [row["from"] for row in found["items"]] == ["0.png", "1.png", "2.png", "a.mp4"]
        assert {f["code"] for f in found["findings"]} == {"enlarged"}
        assert Image.open("s.png").mode == "RGB"

    def test_what_a_person_sees(self, cups: Path) -> None:
        make.write_clip(cups / "a.mp4")
        result = self.invoke(cups, "--out", "out", "--fit", "--fps", 12)
        text = " ".join(result.output.split())
        assert "enlarged 3" in text
        assert "Wrote 3 pictures (1 with mask) and 1 clips of 12 frames at 12 fps" in text

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ([], "Nothing is asked for"),
            (["--box", "0,0,2,1", "--masks", "grabcut"], "--box '0,0,2,1' is not possible"),
            (["--clip-seconds", "5"], "as in 2-5"),
            (["--masks", "nowhere"], "alpha, grabcut or a folder"),
            (["--png", "--base", "sd16"], "no base 'sd16'"),
            (["--upscale", "x.pth"], "check the path"),
        ],
    )
    def test_mistakes(self, options: list[str], words: str, cups: Path, tmp_path: Path) -> None:
        result = self.invoke(cups, "--out", "out", *options)
        assert isinstance(result.exception, LoraloomError)
        assert words in str(result.exception)
        assert names_in(tmp_path) == {"cups"}
