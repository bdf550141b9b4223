"""`loraloom dataset`: what a person sees, what a program reads, and that help is quick."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.zips import Entry, fill_folder, png, write_zip
from typer.testing import CliRunner, Result

from loraloom import cli
from loraloom.errors import DatasetUnknown, IntakeRefused, LoraloomError

COMMANDS = ["import", "list", "show", "snapshot", "diff", "restore", "undo", "concept", "export",
            "captions", "remove", "recover"]  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    files: dict[str, bytes | str] = {}
    for number in range(3):
        files |= {f"{number}.png": png(number), f"{number}.txt": f"cup {number}"}
    return fill_folder(tmp_path / "pics", files)


def invoke(*arguments: object, **options: Any) -> Result:
    words = ["dataset", *map(str, arguments)]
    return CliRunner().invoke(cli.app, words, **options)


def answer(*arguments: object) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    tree = json.loads(line)
    assert isinstance(tree, dict)
    return tree


def failure(*arguments: object) -> LoraloomError:
    result = invoke(*arguments)
    assert isinstance(result.exception, LoraloomError), result.output
    return result.exception


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    lines = result.output.split("\n")
    assert any(line.strip().startswith(f"loraloom dataset {command}") for line in lines)


@pytest.mark.parametrize("words", [["dataset", "--help"], ["dataset", "import", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from loraloom.cli import app; "
        f"assert CliRunner().invoke(app, {words}).exit_code == 0; "
        "assert not {'torch', 'numpy', 'PIL', 'yaml'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_from_import_to_removal(pics: Path, tmp_path: Path) -> None:
    assert answer("import", pics, "--name", "cups")["new"] == 3
    first = answer("snapshot", "cups", "--note", "first")["snapshot"]
    assert answer("import", pics, "--name", "cups")["known"] == 3
    (pics / "9.png").write_bytes(png(9))
    assert answer("import", pics, "--name", "cups", "--uncaptioned", "skip")["new"] == 0
    assert answer("import", pics, "--name", "cups")["new"] == 1
    assert [p["name"] for p in answer("diff", "cups", first[:8])["added"]] == ["9.png"]
    assert answer("restore", "cups", first)["pictures"] == 3
    assert answer("undo", "cups")["undone"].startswith("restored")
    (row,) = answer("list")["datasets"]
    assert (row["name"], row["pictures"], row["snapshots"]) == ("cups", 4, 1)
    exported = answer("export", f"cups@{first[:8]}", "--to", "zip", "--out", "cups.zip")
    assert exported["hash"] == first
    answer("import", "cups.zip", "--name", "again")
    assert answer("show", "again")["hash"] == first
    answer("remove", "cups", "--yes")
    assert [row["name"] for row in answer("list")["datasets"]] == ["again"]
    assert answer("recover", "cups")["pictures"] == 4


def test_captions_out_and_in(pics: Path, tmp_path: Path) -> None:
    answer("import", pics, "--name", "cups")
    table = tmp_path / "cups.csv"
    assert answer("captions", "cups", "--out", table)["captions"] == 3
    assert "exists already" in str(failure("captions", "cups", "--out", table))
    table.write_text(table.read_text().replace("cup", "mug"))
    seen = answer("captions", "cups", table, "--dry-run")
    assert (len(seen["changed"]), seen["written"]) == (3, False)
    assert answer("captions", "cups", table, "--dry-run")["changed"] == seen["changed"]
    assert "3 captions changed" in invoke("captions", "cups", table).output
    assert answer("captions", "cups", table)["same"] == 3
    answer("undo", "cups")
    assert len(answer("captions", "cups", table, "--dry-run")["changed"]) == 3
    assert "cannot be read" in str(failure("captions", "cups", tmp_path / "no.csv"))


def test_what_a_person_sees(pics: Path) -> None:
    (pics / "3.gif").write_bytes(b"x")
    refused = invoke("import", pics)
    assert isinstance(refused.exception, IntakeRefused)
    assert "is not a picture" in refused.output.replace("\n", " ")
    assert invoke("list").output.count("pics") == 0
    assert invoke("import", pics, "--skip-broken").exit_code == 0
    shown = invoke("show", "pics").output
    assert "cup 1" in shown
    assert invoke("snapshot", "pics").stdout.startswith("pics@")
    assert "No difference" in invoke("diff", "pics", json.loads(
        invoke("snapshot", "pics", "--json").stdout)["snapshot"]).output  # fmt: skip


@pytest.mark.parametrize("to", ["kohya", "ai-toolkit", "diffusers", "zip"])
def test_every_export_is_read_again(to: str, pics: Path) -> None:
    answer("import", pics)
    written = answer("export", "pics", "--to", to)
    answer("import", written["path"], "--name", "again")
    assert answer("show", "again")["hash"] == written["hash"] == answer("show", "pics")["hash"]


def test_looking_stores_nothing(pics: Path, home: Path) -> None:
    assert answer("import", pics, "--dry-run") | {"findings": []} == {
        "name": "pics", "layout": "plain", "new": 3, "known": 0, "junk": 0, "stored": False,
        "concepts": [{"name": "main", "trigger": "", "repeats": 1}], "findings": [],
    }  # fmt: skip
    assert answer("list") == {"datasets": []}


def test_concepts(tmp_path: Path) -> None:
    root = fill_folder(
        tmp_path / "pair", {f"{c}/{n}.png": png(n + 50 * (c == "b")) for c in "ab"
                            for n in range(2 if c == "b" else 6)}
    )  # fmt: skip
    answer("import", root)
    answer("concept", "pair", "a", "--trigger", "ohwx", "--repeats", 2)
    found = answer("concept", "pair", "--balance")["concepts"]
    assert found == [{"name": "a", "trigger": "ohwx", "repeats": 1},
                     {"name": "b", "trigger": "", "repeats": 3}]  # fmt: skip
    assert "Concepts: a, b" in str(failure("concept", "pair", "z", "--repeats", 2))


def test_refusals_as_json(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", Entry("../a.png", png(1)), Entry("b.png", b"", flags=1))
    result = invoke("import", path, "--json")
    tree = json.loads(result.stdout)
    assert (tree["stored"], [f["code"] for f in tree["findings"]]) == (
        False, ["zip_path", "zip_encrypted"]
    )  # fmt: skip
    assert isinstance(result.exception, IntakeRefused)


def test_removal_asks(pics: Path) -> None:
    answer("import", pics)
    assert invoke("remove", "pics", input="n\n").exit_code == 1
    assert len(answer("list")["datasets"]) == 1
    assert invoke("remove", "pics", input="y\n").exit_code == 0
    assert answer("list") == {"datasets": []}


def test_mistakes(pics: Path) -> None:
    assert isinstance(failure("show", "nowhere"), DatasetUnknown)
    failure("import", "nowhere.zip")
    failure("import", pics, "--name", "../x")
    assert invoke("import", pics / "0.png", pics / "1.png").exit_code == 2
    answer("import", pics)
    failure("diff", "pics", "abcdef")
    failure("export", "pics", "--to", "kohya", "--out", pics)
    assert invoke("concept", "pics").exit_code == 2
