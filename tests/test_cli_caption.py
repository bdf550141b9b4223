"""`loraloom caption`: what it prints, writes, takes back and exits with."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tests.test_captions_edit import folder_with
from typer.testing import CliRunner, Result

from loraloom.cli import app
from loraloom.dataset.snapshot import Concept
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CaptionEditInvalid

WRONG = "ohwx woman, asian, brown hair, laugh, looking at viewer, hoodie, park, natural lighting"
RIGHT = "ohwx woman, gentle smile, looking up, red dress, beach, golden hour"
CHARACTER = ("--kind", "character", "--trigger", "ohwx woman")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["caption", *map(str, words)], catch_exceptions=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder_with(tmp_path / "set", WRONG, RIGHT)


@pytest.mark.parametrize("command", ["lint", "fix", "edit", "stats", "convert"])
def test_help_has_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"loraloom caption {command}" in result.output


def test_lint_json(root: Path) -> None:
    result = run("lint", root, *CHARACTER, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)["findings"]
    assert {(f["item"], f["code"]) for f in found} == {
        ("01.png", "identity-leak"), ("01.png", "vocabulary"),
    }  # fmt: skip


def test_lint_exits_1_when_training_is_blocked(root: Path) -> None:
    (root / "03.png").write_bytes(b"")
    assert run("lint", root, *CHARACTER).exit_code == 1


def test_lint_for_people(root: Path) -> None:
    result = run("lint", root, *CHARACTER, "--base", "starter")
    assert result.exit_code == 0
    assert "identity-leak" in result.output


def test_fix_shows_writes_and_takes_back(root: Path) -> None:
    before = (root / "01.txt").read_bytes()
    shown = run("fix", root, *CHARACTER, "--dry-run")
    assert "+ohwx woman, laughing" in shown.output
    assert (root / "01.txt").read_bytes() == before
    assert run("fix", root, *CHARACTER).exit_code == 0
    assert (root / "01.txt").read_text() == (
        "ohwx woman, laughing, looking at viewer, hoodie, park, natural lighting\n"
    )
    assert (root / "02.txt").read_text() == RIGHT
    assert json.loads(run("lint", root, *CHARACTER, "--json").stdout) == {"findings": []}
    assert run("edit", root, "--undo").exit_code == 0
    assert (root / "01.txt").read_bytes() == before


def test_fix_lists_what_it_assumed(root: Path) -> None:
    (root / "01.txt").write_text("ohwx woman, smiling")
    result = run("fix", root, *CHARACTER, "--assume", "lighting=candlelight", "--json")
    told = json.loads(result.stdout)
    assert told["fixed"][0]["assumed"] == [
        "looking at viewer", "casual clothing", "simple background", "candlelight",
    ]  # fmt: skip
    assert told["findings"] == []


def test_fix_without_assumptions(root: Path) -> None:
    (root / "01.txt").write_text("ohwx woman, smiling")
    told = json.loads(run("fix", root, *CHARACTER, "--assume", "none", "--json").stdout)
    assert {f["code"] for f in told["findings"]} == {"too-brief", "incomplete"}


def test_edit(root: Path) -> None:
    result = run("edit", root, "--remove", "asian", "--add", "sun", "--replace", "laugh=laughing",
                 "--match", "01", "--json")  # fmt: skip
    assert [e["item"] for e in json.loads(result.stdout)["edited"]] == ["01.png"]
    assert (root / "01.txt").read_text().strip() == (
        "ohwx woman, brown hair, laughing, looking at viewer, hoodie, park, natural lighting, sun"
    )


@pytest.mark.parametrize("words", [(), ("--replace", "x")])
def test_edit_needs_a_change(root: Path, words: tuple[str, ...]) -> None:
    assert isinstance(run("edit", root, *words).exception, CaptionEditInvalid)


def test_stats(root: Path) -> None:
    told = json.loads(run("stats", root, "--trigger", "ohwx woman", "--json").stdout)
    assert told["captions"] == 2 and told["categories"]["clothing"] == 2
    assert "natural lighting" in run("stats", root).output


def test_convert(root: Path) -> None:
    result = run("convert", root, "--to", "sentences", "--trigger", "ohwx woman")
    assert result.exit_code == 0
    assert (root / "02.txt").read_text().startswith("ohwx woman wearing a red dress, with a gentle")
    run("edit", root, "--undo")
    assert (root / "02.txt").read_text() == RIGHT


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredDataset:
    """Two concepts, a picture each, with triggers of their own."""
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    for concept, colour, caption in (("a", "red", WRONG), ("b", "green", RIGHT)):
        (tmp_path / "in" / concept).mkdir(parents=True)
        Image.new("RGB", (64, 64), colour).save(tmp_path / "in" / concept / "01.png")
        text = caption.replace("ohwx woman", f"{concept * 3} woman")
        (tmp_path / "in" / concept / "01.txt").write_text(text)
    imported = CliRunner().invoke(
        app, ["dataset", "import", str(tmp_path / "in"), "--name", "hats"]
    )
    assert imported.exit_code == 0
    dataset = Store().open("hats")
    dataset.set_concepts([Concept("a", "aaa woman"), Concept("b", "bbb woman")])
    return dataset


def test_stored_sets_are_read_by_the_trigger_of_each_concept(stored: StoredDataset) -> None:
    for name in ("hats", f"hats@{stored.snapshot()}"):
        found = json.loads(run("lint", name, "--kind", "character", "--json").stdout)["findings"]
        assert {(f["item"], f["code"]) for f in found} == {
            ("a/01.png", "identity-leak"), ("a/01.png", "vocabulary"),
        }  # fmt: skip
    told = json.loads(run("stats", "hats", "--json").stdout)
    assert told["captions"] == 2 and not any("woman" in phrase for phrase in told["phrases"])
    wrong = run("lint", "hats", *CHARACTER)
    assert isinstance(wrong.exception, CaptionEditInvalid)


def test_stored_sets_are_mended_and_taken_back(stored: StoredDataset) -> None:
    before = stored.working
    shown = run("fix", "hats", "--kind", "character")
    assert "`loraloom dataset undo hats` takes it back" in shown.output
    assert {p.caption for p in stored.working.pictures} == {
        "aaa woman, laughing, looking at viewer, hoodie, park, natural lighting",
        RIGHT.replace("ohwx", "bbb"),
    }
    assert stored.last_edit == "fix"
    assert run("edit", "hats", "--add", "sun", "--match", "b/01").exit_code == 0
    assert run("convert", "hats", "--to", "sentences").exit_code == 0
    assert sorted(p.caption for p in stored.working.pictures)[1].startswith("bbb woman wearing")
    for what, count in (("convert to sentences", 2), ("edit", 1), ("fix", 1)):
        told = json.loads(run("edit", "hats", "--undo", "--json").stdout)
        assert told == {"undone": what, "captions": count}
    assert stored.working == before


def test_snapshots_are_not_changed(stored: StoredDataset) -> None:
    name = f"hats@{stored.snapshot()}"
    assert run("edit", name, "--add", "sun", "--dry-run").exit_code == 0
    assert isinstance(run("edit", name, "--add", "sun").exception, CaptionEditInvalid)


def test_a_terminal_is_told_nothing_by_captions_and_names(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.png").write_bytes(b"")
    (tmp_path / "a\x1b[2J.txt").write_bytes(b"ohwx woman, \x1b[31m[bold]asian\x07, smile")
    options = ["--kind", "character", "--trigger", "ohwx woman"]
    for command in (["lint"], ["fix", "--dry-run"]):
        words = ["caption", command[0], str(tmp_path), *options, *command[1:]]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.output and "\x07" not in result.output
