"""The whole check: planted faults, captions, concepts, and what comes out."""

import base64
import html
import io
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from bench.photographs import photograph
from bench.planted_faults import SET_CODES, drawing, plant, plant_set, run, write_captioned
from PIL import Image
from tests.clips import write_clip
from typer.testing import CliRunner

from loraloom import cli, families
from loraloom.captions import rules
from loraloom.captions.concept import known_name
from loraloom.dataset.readiness import composition
from loraloom.dataset.readiness.check import Readiness, check
from loraloom.dataset.readiness.listing import list_pictures, triggers
from loraloom.dataset.readiness.native import native_of
from loraloom.dataset.readiness.page import thumbnail, write_page
from loraloom.dataset.readiness.picture import Unreadable, Wanted
from loraloom.dataset.readiness.reading import measure_all
from loraloom.errors import BaseUnknown, FolderEmpty, FolderMissing
from loraloom.findings import Severity
from loraloom.kinds import Kind

RECALL, FALSE_ALARMS = 0.95, 0.02


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven photographs and one file that is none."""
    folder, rng = tmp_path_factory.mktemp("set"), random.Random(0)
    for number in range(7):
        picture, words = photograph(96)(rng)
        write_captioned(folder / f"{number}.png", picture, words)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "broken.txt").write_text("ohwx thing, red hoodie")
    return folder


@pytest.fixture(scope="module")
def found(pictures: Path) -> Readiness:
    return check(pictures, Kind.OBJECT, "starter", "ohwx thing")


@pytest.mark.slow
@pytest.mark.each_time("photographs")
@pytest.mark.parametrize("world", ["drawings", "photographs"])
def test_planted_faults_are_found(world: str) -> None:
    for code, score in run(world, clean=50, each=6, side_px=384, seed=1).items():
        assert score.recall >= RECALL, (code, score.missed_names)
        assert score.false_alarms <= FALSE_ALARMS, (code, score.accused_names)


@pytest.mark.slow
@pytest.mark.parametrize("code", SET_CODES)
def test_faults_of_a_whole_set_are_found(code: str, tmp_path: Path) -> None:
    plant_set(tmp_path, code, 192, seed=2)
    codes = {finding.code for finding in check(tmp_path, Kind.CHARACTER, "starter").findings}
    assert codes & set(SET_CODES) == {code}


def test_a_broken_picture_is_an_error_and_ends_nothing(found: Readiness) -> None:
    first = found.findings[0]
    assert (first.code, first.severity, first.item) == (
        "unreadable", Severity.ERROR, "broken.png")  # fmt: skip
    assert len(found.measures) == 7
    ranks = [list(Severity).index(finding.severity) for finding in found.findings]
    assert ranks == sorted(ranks)


def test_sizes_against_the_base(pictures: Path) -> None:
    codes = [f.code for f in check(pictures, Kind.OBJECT, "sd15").findings]
    assert codes.count("low-resolution") == 7


def test_processes_give_the_same_answers(pictures: Path) -> None:
    paths = sorted(pictures.glob("*.png")) * 7
    wanted = Wanted(128, count_faces=False)
    alone = list(measure_all(paths, wanted, workers=1))
    together = list(measure_all(paths, wanted, workers=2))
    assert alone == together
    assert sum(isinstance(answer, Unreadable) for answer in together) == 7


def test_concepts_are_subfolders_without_their_repeats(tmp_path: Path) -> None:
    for folder, words in (("10_mira", "ohwx woman, smiling"), ("bram", "zvkr man, standing")):
        write_captioned(tmp_path / folder / "a.png", Image.new("RGB", (20, 20)), words)
    pictures = list_pictures(tmp_path)
    assert [(p.name, p.concept) for p in pictures] == [
        ("10_mira/a.png", "mira"), ("bram/a.png", "bram")]  # fmt: skip
    assert triggers(pictures) == {"mira": "ohwx woman", "bram": "zvkr man"}


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(FolderEmpty):
        list_pictures(tmp_path)
    with pytest.raises(FolderMissing):
        list_pictures(tmp_path / "gone")


def test_bases_by_name_and_by_family() -> None:
    assert native_of("starter").side_px == 128
    assert native_of("sd15").side_px == 512
    with pytest.raises(BaseUnknown, match=r"no base 'sd1.5'. Did you mean 'sd15'.*starter"):
        native_of("sd1.5")


def test_shots_follow_the_captions_in_both_languages() -> None:
    said = ("full body, front view", "side view", "3/4 view", "close-up", "側臉, 微笑")
    captions = [f"ohwx woman, {words}" for words in said]
    counts = {part.name: part.count for part in composition.coverage(captions, Kind.CHARACTER)}
    assert counts == {"full body": 1, "upper body": 0, "profile": 2, "three-quarter": 1,
                      "front close-up": 1}  # fmt: skip


def test_targets_grow_with_the_set() -> None:
    captions = ["a close-up"] * 30
    parts = composition.coverage(captions, Kind.CHARACTER)
    assert [(part.least, part.most) for part in parts] == [(2, 3), (4, 5), (3, 4), (6, 8), (8, 10)]
    assert [f.code for f in composition.check(captions, Kind.CHARACTER)] == ["composition"] * 4


def test_page_says_what_to_do_and_can_be_narrowed(tmp_path: Path, found: Readiness) -> None:
    write_page(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text()
    for finding in found.findings:
        if finding.item:
            assert finding.fix in html.unescape(page)
    cards = re.findall(r'<li class="(\w+)">\n<div class="frame">', page)
    assert len(cards) == 8
    for group in set(cards):
        shown = re.search(rf'id="only-{group}"> [a-z ]+ (\d+)', page)
        assert shown and int(shown[1]) == cards.count(group)
        assert f"#only-{group}:checked" in page
    codes = {finding.code for finding in found.findings}
    assert not [code for code in codes if f">{code}<" in page and "-" in code]


def test_thumbnails_are_drawn_anew(tmp_path: Path) -> None:
    """Neither EXIF (a place, a camera) nor what hangs behind a picture gets onto the page."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "SECRETCAM", 6
    path = tmp_path / "a.jpg"
    photograph(96)(random.Random(1))[0].save(path, exif=exif)
    path.write_bytes(path.read_bytes() + b"<script>SECRETCAM</script>")
    address = thumbnail(path)
    assert address is not None
    data = base64.b64decode(address.partition(",")[2])
    assert b"SECRET" not in data
    with Image.open(io.BytesIO(data)) as shown:
        assert (shown.format, dict(shown.getexif())) == ("WEBP", {})


def test_a_terminal_is_told_nothing_by_names(tmp_path: Path) -> None:
    (tmp_path / "a\x1b]0;title\x07[red].png").write_bytes(b"no picture")
    (tmp_path / "b.png").write_bytes(encoded_png())
    result = CliRunner().invoke(cli.app, ["dataset", "check", str(tmp_path), "--kind", "object"])
    assert "\x1b" not in result.output and "\x07" not in result.output
    assert "[red].png" in result.output.replace("\n", "")


def encoded_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    return buffer.getvalue()


def test_page_escapes_and_loads_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_captioned(folder / "a.png", Image.new("RGB", (64, 64)), "<script>alert(1)</script>")
    write_page(tmp_path / "page.html", check(folder, Kind.STYLE, "starter"))
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/webp") == 1


def test_command_prints_findings_and_fails_on_errors(pictures: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = ["dataset", "check", str(pictures), "--kind", "object", "--html", str(page)]
    result = CliRunner().invoke(cli.app, [*arguments, "--json"])
    told = json.loads(result.stdout)["findings"]
    assert result.exit_code == 1
    assert told[0]["code"] == "unreadable"
    assert page.exists()
    shown = CliRunner().invoke(cli.app, arguments)
    assert "broken.png" in shown.stdout


def test_command_succeeds_without_errors(tmp_path: Path) -> None:
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (128, 128, 3), np.uint8)
        write_captioned(
            tmp_path / f"{number}.png", Image.fromarray(noise), f"thing number {number}"
        )
    result = CliRunner().invoke(cli.app, ["dataset", "check", str(tmp_path), "--kind", "style"])
    assert result.exit_code == 0, result.output


def captioned(folder: Path, count: int, words: str) -> None:
    for number in range(count):
        picture, _ = photograph(96)(random.Random(number))
        write_captioned(folder / f"{number}.png", picture, f"{words}, number {number}")


def test_captions_are_counted_by_the_tokenizer_of_the_base(tmp_path: Path) -> None:
    captioned(tmp_path, 2, "zkcup, " + ", ".join(["park"] * 60))
    found = check(tmp_path, Kind.OBJECT, "starter", "zkcup")
    assert [f.item for f in found.findings if f.code == "truncated"] == ["0.png", "1.png"]
    assert "truncated" in found.looked_for
    unknown = check(tmp_path, Kind.OBJECT, "sdxl", "zkcup")  # known by its family only
    assert not [f for f in unknown.findings if f.code == "truncated"]
    assert "truncated" not in unknown.looked_for
    assert "Tokens of captions are counted for installed bases only." in unknown.unmeasured


def test_a_concept_called_by_its_words_is_not_to_be_told(tmp_path: Path) -> None:
    """ "heart hands" is a concept of the lists; "zk" abbreviates nothing."""
    for name in ("heart_hands", "main"):
        (tmp_path / name / name).mkdir(parents=True)
        captioned(tmp_path / name / name, 2, "zkq, a woman with hands in a heart shape, park")
    told, untold = (
        {f.code for f in check(tmp_path / name, Kind.CONCEPT, "starter").findings}
        for name in ("heart_hands", "main")
    )
    assert "concept-leak" in told
    assert known_name("heart_hands") == "heart hands"
    assert known_name("main") == known_name("my_set_3") == ""
    assert told >= untold


def test_a_set_of_clips(tmp_path: Path) -> None:
    sizes = {"good": (72, 24, (64, 48)), "short": (24, 24, (64, 48)), "long": (150, 24, (64, 48)),
             "rate": (90, 30, (96, 48))}  # fmt: skip
    for name, (frames, fps, size) in sizes.items():
        write_clip(tmp_path / f"{name}.mp4", frames, fps=fps, size=size)
        (tmp_path / f"{name}.txt").write_text("zkdance, a woman turns, static camera, park")
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    found = check(tmp_path, Kind.CONCEPT, "starter", "zkdance")
    told = {(f.code, f.item): f for f in found.findings}
    assert {item for code, item in told if code == "clip-length"} == {"short.mp4", "long.mp4"}
    assert told["clip-length", "long.mp4"].value == pytest.approx(150 / 24, abs=0.02)
    assert "24 fps (3), 30 fps (1)" in told["clip-rate", ""].message
    assert "64 × 48 (3), 96 × 48 (1)" in told["clip-size", ""].message
    assert told["unreadable", "broken.mp4"].severity is Severity.ERROR
    assert "5 clips; 20 to 30 are recommended, 10 at least." in told["too-few", ""].message
    assert ("caption-missing", "broken.mp4") in told
    assert {picture.name for picture in found.pictures} == {
        "broken.mp4", *(f"{name}.mp4" for name in sizes)
    }  # fmt: skip
    assert any("Of 5 clips only" in sentence for sentence in found.unmeasured)


def test_two_copies_leave_the_larger_one(tmp_path: Path) -> None:
    picture, words = drawing(256)(random.Random(1))
    write_captioned(tmp_path / "small.png", picture.resize((200, 200)), words)
    write_captioned(tmp_path / "large.png", picture, words)
    told = [f for f in check(tmp_path, Kind.CHARACTER, "starter").findings
            if f.code == "near-duplicate"]  # fmt: skip
    assert [finding.item for finding in told] == ["small.png"]


def test_planting_is_repeatable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        plant(tmp_path / name, drawing(64), 4, 1, 3, 64)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        for name in files
    )


def test_bases_of_video_ask_for_what_they_need(tmp_path: Path) -> None:
    rng = random.Random(4)
    for number in range(3):
        picture, _ = photograph(96)(rng)
        write_captioned(tmp_path / f"{number}.png", picture, f"ohwx woman, park, {number} dogs")

    def incomplete(base: str) -> int:
        found = check(tmp_path, Kind.CHARACTER, base, "ohwx woman", workers=1).findings
        return sum(finding.code == "incomplete" for finding in found)

    assert (incomplete("sd15"), incomplete("wan22")) == (3, 0)
    for info in families.all_infos():
        assert rules.base_style(info.id).video == (info.frames is not None)
