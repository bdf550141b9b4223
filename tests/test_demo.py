"""The demonstration, short: everything it promises to write is there and says the same."""

import json
from pathlib import Path

import pytest
from PIL import Image

from loraloom.errors import OutputExists, SubjectUnknown
from loraloom.starter import demo
from loraloom.starter.verdict import Scores, next_step
from loraloom.train import recipe
from loraloom.train.events import Finished, Stage, Step
from loraloom.train.stop import StopRequest, TrainingStopped

GOOD = Scores(likeness=0.9, obedience=0.85, obedience_base=0.9, bleed=0.05)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight steps and a few pictures: what is tested is the way, not the result."""
    monkeypatch.setattr(demo, "PICTURES", 8)
    monkeypatch.setattr(demo, "BLEED_PICTURES", 8)
    monkeypatch.setattr(demo, "SHEET_ROWS", 2)
    monkeypatch.setattr(demo, "STEPS", 3)
    resolve = recipe.resolve

    def quick(overrides: dict[str, object]) -> object:
        changes = {"schedule": {"steps": 8}, "prior": {"images": 4, "steps": 2}, "batch_size": 2}
        return resolve({**overrides, **changes})

    monkeypatch.setattr(recipe, "resolve", quick)


def test_the_whole_way(short: None, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    events = list(demo.run(out))
    assert {type(event) for event in events} >= {Step, Stage, Finished, demo.DemoFinished}
    last = events[-1]
    assert isinstance(last, demo.DemoFinished)
    facts = json.loads((out / "report.json").read_text())
    assert set(facts) >= {
        "likeness", "obedience", "obedience_base", "bleed", "seconds", "peak_memory_mib",
        "settings", "seeds",
    }  # fmt: skip
    assert facts["likeness"] == pytest.approx(last.scores.likeness, abs=1e-4)
    assert set(facts["seconds"]) == {"pictures", "training", "generation", "judging", "total"}
    assert len(list((out / "pictures").glob("*.png"))) == 30
    assert len(list((out / "generated").glob("*.png"))) == 8
    for name in ("sheet.png", "curves.png"):
        Image.open(out / name).verify()
    page = (out / "report.html").read_text()
    assert last.verdict in page
    assert "<img" in page
    again = list(demo.run(out))[-1]
    assert isinstance(again, demo.DemoFinished), "an earlier demonstration is replaced"
    assert again.scores == last.scores, "and gives the same figures"


def test_whoever_holds_the_stop_ends_it(short: None, tmp_path: Path) -> None:
    stop = StopRequest()
    stop.asked = True
    with pytest.raises(TrainingStopped):
        list(demo.run(tmp_path / "demo", stop=stop))


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(OutputExists, match="empty folder"):
        next(demo.run(tmp_path))
    assert (tmp_path / "pictures").is_dir()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(OutputExists, match="is a file; name a folder"):
        next(demo.run(tmp_path / "notes"))
    assert (tmp_path / "notes").read_text() == "mine"


def test_an_unknown_subject_is_told_the_known_ones() -> None:
    assert demo.character("bram").name == "Bram"
    with pytest.raises(SubjectUnknown, match="Mira, Bram, Noor"):
        demo.character("Nobody")


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({}, "Train your own"),
        ({"likeness": 0.84}, "train longer"),
        ({"obedience": 0.79}, "train shorter"),
        ({"bleed": 0.11}, "prior"),
    ],
)
def test_the_verdict_follows_the_targets(change: dict[str, float], advice: str) -> None:
    scores = Scores(**{**vars(GOOD), **change})
    assert scores.good == (not change)
    assert advice in next_step(scores)
