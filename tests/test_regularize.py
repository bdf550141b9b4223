"""Class pictures: drawn once, completed, never mixed, and trained on."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tests import tiny
from typer.testing import CliRunner

from loraloom import cli, train
from loraloom.dataset.buckets import Bucket
from loraloom.dataset.store import Store
from loraloom.errors import (
    ClassPicturesUnneeded,
    ConfigInvalid,
    FolderEmpty,
    FolderMissing,
    LoraloomError,
    OutputExists,
)
from loraloom.generate import regularize
from loraloom.generate.regularize import RECORD, draw, order, with_article
from loraloom.kinds import Kind
from loraloom.train.events import Stage, Started
from loraloom.train.setup import prepare


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three squares and one twice as wide."""
    folder = tiny.save_pictures(tmp_path_factory.mktemp("pictures"), 3)
    Image.new("RGB", (80, 40)).save(folder / "wide.png")
    (folder / "wide.txt").write_text("zk person, wide")
    return folder


def small(pictures: Path, base: Path, count: int, **options: str) -> regularize.Order:
    return order(pictures, str(base), Kind.CHARACTER, count=count, steps=1, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_starter_draws_with_prompt_captions_and_seeds(tmp_path: Path, pictures: Path) -> None:
    wanted = order(pictures, "starter", Kind.CHARACTER, trigger="ohwx woman", count=2, steps=2)
    drawn = draw(wanted, tmp_path / "class")
    assert (drawn.prompt, drawn.count, drawn.new) == ("a woman", 2, 2)
    with Image.open(tmp_path / "class/0001.png") as picture:
        assert picture.size == (128, 128)
    assert (tmp_path / "class/0001.txt").read_text() == "a woman\n"
    record = json.loads((tmp_path / "class" / RECORD).read_text())
    assert record["prompt"] == "a woman"
    assert [entry["seed"] for entry in record["pictures"].values()] == [0, 1]


def test_pictures_have_the_sizes_of_the_set(base: Path, pictures: Path, tmp_path: Path) -> None:
    draw(small(pictures, base, 4), tmp_path / "class")
    sizes = []
    for number in range(4):
        with Image.open(tmp_path / f"class/{number:04d}.png") as picture:
            sizes.append(picture.size)
    assert sizes.count((32, 32)) == 3
    assert sum(width > height for width, height in sizes) == 1


def test_what_is_missing_is_drawn_as_it_was(base: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "class"
    draw(small(pictures, base, 10), folder)
    whole = contents(folder)
    for name in ("0002.png", "0005.txt", "0009.png"):
        (folder / name).unlink()
    told: list[tuple[int, int]] = []
    drawn = draw(
        small(pictures, base, 10), folder, lambda _, done, total: told.append((done, total))
    )
    assert (drawn.new, contents(folder)) == (3, whole)
    assert told[-1] == (10, 10)
    assert draw(small(pictures, base, 10), folder).new == 0


def test_a_higher_count_adds_and_a_lower_one_takes_nothing(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    draw(small(pictures, base, 2), tmp_path / "class")
    before = contents(tmp_path / "class")
    assert draw(small(pictures, base, 5), tmp_path / "class").new == 3
    after = contents(tmp_path / "class")
    assert all(after[name] == before[name] for name in before if name != RECORD)
    fewer = draw(small(pictures, base, 1), tmp_path / "class")
    assert (fewer.count, fewer.new, contents(tmp_path / "class")) == (5, 0, after)


def test_killed_while_drawing_leaves_whole_files(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = regularize.write_png

    def fail_at_third(path: Path, image: Image.Image, *, durable: bool) -> None:
        if path.name == "0002.png":
            raise KeyboardInterrupt
        written(path, image, durable=durable)

    monkeypatch.setattr(regularize, "write_png", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        draw(small(pictures, base, 4), tmp_path / "class")
    monkeypatch.undo()
    assert sorted(p.name for p in (tmp_path / "class").glob("*.png")) == ["0000.png", "0001.png"]
    assert draw(small(pictures, base, 4), tmp_path / "class").new == 2


@pytest.mark.parametrize(
    "change", [{"class_prompt": "a man"}, {"seed": 3}, {"guidance": 2.0}], ids=str
)
def test_other_pictures_are_not_mixed_in(
    base: Path, pictures: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    draw(small(pictures, base, 1), tmp_path / "class")
    before = contents(tmp_path / "class")
    with pytest.raises(OutputExists, match="drawn otherwise"):
        draw(small(pictures, base, 2, **change), tmp_path / "class")
    assert contents(tmp_path / "class") == before


@pytest.mark.parametrize("record", ["", "[]", '{"pictures": {}}', '{"prompt": 1}'])
def test_a_broken_record_is_told(base: Path, pictures: Path, tmp_path: Path, record: str) -> None:
    (tmp_path / RECORD).write_text(record)
    with pytest.raises(OutputExists, match=RECORD):
        draw(small(pictures, base, 1), tmp_path)
    assert contents(tmp_path) == {RECORD: record.encode()}


def test_a_folder_with_other_things_is_left_alone(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutputExists, match="not empty"):
        draw(small(pictures, base, 1), tmp_path)
    assert contents(tmp_path) == {"letter.txt": b"dear"}


@pytest.mark.parametrize("kind", [Kind.STYLE, Kind.CONCEPT, Kind.SCENE])
def test_kinds_without_a_class_want_none(base: Path, pictures: Path, kind: Kind) -> None:
    with pytest.raises(ClassPicturesUnneeded, match="--anyway"):
        order(pictures, str(base), kind)
    assert order(pictures, str(base), kind, anyway=True).count == 4


def test_how_many(base: Path, pictures: Path) -> None:
    assert order(pictures, str(base), Kind.CHARACTER).count == 8  # data/kinds.toml: two for each
    assert order(pictures, str(base), Kind.OBJECT, times=5).count == 20
    with pytest.raises(ConfigInvalid, match="21 class pictures are too many for 4"):
        order(pictures, str(base), Kind.OBJECT, count=21)


def test_the_prompt_comes_from_trigger_or_kind(base: Path, pictures: Path) -> None:
    def prompt(kind: Kind, trigger: str, class_prompt: str = "") -> str:
        wanted = order(pictures, str(base), kind, trigger=trigger, class_prompt=class_prompt)
        return wanted.prompt

    assert prompt(Kind.CHARACTER, "ohwx old woman") == "an old woman"
    assert prompt(Kind.CHARACTER, "ohwx") == "a person"
    assert prompt(Kind.OBJECT, "") == "an object"
    assert prompt(Kind.CHARACTER, "ohwx 女子") == "女子"
    assert prompt(Kind.CHARACTER, "ohwx woman", " a lady ") == "a lady"
    assert with_article("the queen") == "the queen"


def test_a_stored_set_brings_its_trigger_and_sizes(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    imported = CliRunner().invoke(cli.app, ["dataset", "import", str(pictures), "--name", "me"])
    assert imported.exit_code == 0, imported.output
    named = ["dataset", "concept", "me", "", "--trigger", "zk man"]
    assert Store().has("me")
    CliRunner().invoke(cli.app, named)
    wanted = order("me", str(base), Kind.CHARACTER)
    assert len(wanted.sizes) == 4
    assert Bucket(32, 32) in wanted.sizes


def test_a_set_that_is_not_there(base: Path, tmp_path: Path) -> None:
    with pytest.raises(FolderMissing):
        order(tmp_path / "nothing", str(base), Kind.CHARACTER)
    with pytest.raises(FolderEmpty):
        order(tmp_path, str(base), Kind.CHARACTER)


def test_training_takes_them_instead_of_drawing(base: Path, pictures: Path, tmp_path: Path) -> None:
    draw(small(pictures, base, 3), tmp_path / "class")
    given = {"images": 3, "folder": str(tmp_path / "class"), "weight": 0.5}
    config = tiny.config(base, pictures, prior=given, schedule={"steps": 2})
    events = list(train.run(config, tmp_path / "out"))
    assert "prior" not in {event.name for event in events if isinstance(event, Stage)}
    assert next(e for e in events if isinstance(e, Started)).prior_images == 3
    assert not (tmp_path / "out/prior").exists()
    setup = prepare(config, tmp_path / "out")
    assert {(e.caption, e.weight, e.prior) for e in setup.class_pictures} == {
        ("a person", 0.5, True)
    }
    (tmp_path / "class/0000.png").write_bytes((tmp_path / "class/0001.png").read_bytes())
    assert prepare(config, tmp_path / "out").facts != setup.facts


def test_the_folder_alone_switches_them_on(base: Path, pictures: Path, tmp_path: Path) -> None:
    draw(small(pictures, base, 3), tmp_path / "class")
    folder = {"prior": {"folder": str(tmp_path / "class")}}
    given = {"base": str(base), "kind": "style", "data": {"folder": str(pictures)}}
    assert train.recipe.resolve({**given, **folder}).prior.images == 3
    assert train.recipe.resolve(given).prior.images == 0
    config = tiny.config(base, pictures, prior={"images": 4, "folder": str(tmp_path / "class")})
    with pytest.raises(ConfigInvalid, match="holds 3 class pictures"):
        prepare(config, tmp_path / "out")


def test_command(base: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["dataset", "regularize", str(pictures), "--base", str(base), "--steps", "1"]
    words += ["--count", "2", "--trigger", "zk woman", "--out", str(tmp_path / "class")]
    first = CliRunner().invoke(cli.app, words)
    assert first.exit_code == 0, first.output
    told, step = first.stdout.splitlines()
    assert told == f"2 class pictures of 'a woman' in {tmp_path / 'class'}, 2 new."
    assert step.startswith("Train with them: loraloom train ")
    assert step.endswith(f"--set prior.folder={tmp_path / 'class'}")
    second = CliRunner().invoke(cli.app, [*words, "--json"])
    answer = json.loads(second.stdout)
    assert (answer["new"], answer["count"]) == (0, 2)
    both = CliRunner().invoke(cli.app, [*words, "--times", "2"])
    assert both.exit_code == 2
    style = CliRunner().invoke(cli.app, [*words, "--kind", "style"])
    assert isinstance(style.exception, LoraloomError)
