"""`loraloom caption auto`: what it prints, refuses and exits with; three commands to an adapter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.auto_captions import agreement, bare_zip
from PIL import Image
from tests.chat_server import Said, serving
from tests.tiny_tagger import certain, write_tagger
from typer.testing import CliRunner, Result

from loraloom.cli import app
from loraloom.errors import (
    CaptionerInvalid,
    FolderMissing,
    LoraloomError,
    ProviderInvalid,
    TaggerUnknown,
)
from loraloom.starter.example import example_scenes
from loraloom.starter.world.scene import CHARACTERS, caption

CHARACTER = ("--kind", "character", "--trigger", "ohwx woman")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["caption", "auto", *map(str, words)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (90 * number, 0, 0)).save(tmp_path / "set" / f"{number}.png")
    return tmp_path / "set"


@pytest.fixture
def tagger(tmp_path: Path) -> Path:
    write_tagger(tmp_path / "tagger", bias=certain(["1girl", "long_hair", "smile", "outdoors"]))
    return tmp_path / "tagger"


def test_help_has_examples() -> None:
    told = run("--help").output
    assert "loraloom caption auto photos --kind character" in told and "--key-env" in told


def test_for_people(folder: Path, tagger: Path) -> None:
    told = run(folder, *CHARACTER, "--tagger", tagger)
    assert told.exit_code == 0
    assert (folder / "0.txt").read_text() == "ohwx woman, smiling, outdoors\n"
    words = " ".join(told.output.split())
    assert "0.png: ohwx woman, smiling, outdoors" in words
    assert "3 captions written" in words and "caption edit" in words and "--undo" in words
    assert "look at 3: The caption does not tell: eye direction" in words
    again = run(folder, *CHARACTER, "--tagger", tagger)
    assert "0 captions written; 3 had captions" in " ".join(again.output.split())


def test_for_programs(folder: Path, tagger: Path) -> None:
    (folder / "1.png").write_bytes(b"no picture")
    told = run(folder, *CHARACTER, "--tagger", tagger, "--json")
    assert told.exit_code == 1
    tree = json.loads(told.stdout)
    assert tree["captions"] == {f"{n}.png": "ohwx woman, smiling, outdoors" for n in (0, 2)}
    assert [failed["item"] for failed in tree["failed"]] == ["1.png"] and tree["skipped"] == 0


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("flux", "ohwx woman, smiling while standing outdoors"),
        ("sd15", "ohwx woman, smiling, outdoors"),
    ],
)
def test_captions_suit_the_base(folder: Path, tagger: Path, base: str, text: str) -> None:
    run(folder, *CHARACTER, "--tagger", tagger, "--base", base)
    assert (folder / "0.txt").read_text().strip() == text


def test_the_prompt_suits_the_base_and_the_language(folder: Path) -> None:
    with serving(lambda asked, number: Said("laughing, park")) as server:
        asked = ("--provider", server.address, "--model", "llava", "--replace", "--json")
        for extra in ((), ("--base", "sd15"), ("--base", "wan"), ("--language", "zh-TW")):
            run(folder, *CHARACTER, *asked, *extra)
    systems = [server.asked[number].body["messages"][0]["content"] for number in (0, 3, 6, 9)]
    signs = ("one or two plain English sentences", "as tags", "frames of one clip", "繁體中文")
    assert all(sign in system for sign, system in zip(signs, systems, strict=True))


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["--tagger", "x", "--provider", "http://x/v1"], CaptionerInvalid, "not both"),
        (["--model", "llava"], CaptionerInvalid, "--provider"),
        (["--per-minute", "3"], CaptionerInvalid, "--provider"),
        (["--language", "zh-TW"], CaptionerInvalid, "--provider"),
        (["--provider", "http://x/v1"], ProviderInvalid, "--model"),
        (["--provider", "x", "--model", "y"], ProviderInvalid, "http://127.0.0.1:11434/v1"),
        (["--provider", "http://x/v1", "--model", "y", "--threshold", "0.4"], CaptionerInvalid,
         "for taggers"),
        (["--provider", "http://x/v1", "--model", "y", "--key-env", "sk-123"], ProviderInvalid,
         "never the key itself"),
        (["--provider", "http://x/v1", "--model", "y", "--key-env", "NOT_SET_HERE"],
         ProviderInvalid, "NOT_SET_HERE is not set"),
        (["--tagger", "starter", "--threshold", "1.5"], CaptionerInvalid, "0.05 to below 1"),
        (["--tagger", "starter", "--prompt", "detailed"], CaptionerInvalid, "tags only"),
        (["--tagger", "wd99"], TaggerUnknown, "Known: starter"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_read(
    folder: Path, words: list[str], error: type[LoraloomError], says: str
) -> None:
    found = run(folder, *CHARACTER, *words).exception
    assert isinstance(found, error) and says in str(found)
    assert "sk-123" not in str(found)
    assert not list(folder.glob("*.txt"))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert isinstance(
        run(tmp_path / "no", *CHARACTER, "--tagger", "starter").exception, FolderMissing
    )


def test_the_command_starts_without_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from loraloom.cli import app; "
        "CliRunner().invoke(app, ['caption', 'auto', '--help']); "
        "assert not {'torch', 'numpy', 'onnxruntime'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.slow
def test_from_a_bare_zip_to_an_adapter_in_three_commands(tmp_path: Path) -> None:
    identity = CHARACTERS[0]
    archive = bare_zip(identity, tmp_path)
    named = ("--kind", "character", "--trigger", identity.trigger)
    short = [f"--set={s}" for s in ("schedule.steps=4", "prior.images=4", "prior.steps=2")]
    out = tmp_path / "run"
    for words in (
        ("dataset", "import", archive, "--name", "subject"),
        ("caption", "auto", "subject", *named, "--tagger", "starter", "--json"),
        ("train", "subject", "--base", "starter", *named, "--out", out, *short),
    ):
        done = subprocess.run(
            [sys.executable, "-c", "from loraloom.cli import main; main()", *map(str, words)],
            env={**os.environ, "LORALOOM_HOME": str(tmp_path / "home")},
            stdout=subprocess.PIPE, text=True, check=True, timeout=300,
        )  # fmt: skip
        if words[0] == "caption":
            told = json.loads(done.stdout)
            found = [told["captions"][name] for name in sorted(told["captions"])]
            true = [caption(scene, identity.trigger) for scene in example_scenes(identity)]
            agreed = agreement(found, true)
            assert min(agreed.precision, agreed.recall) > 0.94 and agreed.exact > 0.6
            assert told["findings"] == []
    assert (out / "adapter.safetensors").stat().st_size > 1000
