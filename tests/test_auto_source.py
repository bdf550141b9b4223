"""Which tagger a name means; Florence-2 in its own class; the hub."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.hub_server import Hub, hub_with
from tests.tiny_florence import SIDE_PX, save_florence
from tests.tiny_tagger import write_tagger

from loraloom.captions.auto import defaults
from loraloom.captions.auto.florence import Florence2
from loraloom.captions.auto.source import Task, find_tagger, open_tagger
from loraloom.errors import TaggerUnknown, TaggerUnusable

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
QUESTIONS: dict[Task, str] = {
    "concise": "What does the image describe?",
    "standard": "Describe in detail what is shown in the image.",
    "detailed": "Describe with a paragraph what is shown in the image.",
}
"""What Florence-2 was trained to be asked (its processor's table of tasks)."""


@pytest.fixture(scope="module")
def florence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_florence(tmp_path_factory.mktemp("florence") / "model")


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = replace(defaults.florence(), tokens=8, beams=2)
    monkeypatch.setattr(defaults, "florence", lambda: chosen)


@pytest.mark.parametrize("task", list(QUESTIONS))
def test_florence_is_asked_its_tasks_question(
    florence: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same words as from the model itself, with inputs made by hand."""
    captioner = Florence2(florence, task)
    picture = Image.new("RGB", (SIDE_PX, SIDE_PX), (200, 30, 90))
    heard: list[str] = []
    monkeypatch.setattr(
        "loraloom.captions.auto.florence.caption_in", lambda text: heard.append(text)
    )
    captioner.describe([(picture,)])
    tokenizer, model = captioner._processor.tokenizer, captioner._model
    asked = tokenizer(f"<s>{QUESTIONS[task]}</s>", add_special_tokens=False).input_ids
    ids = torch.tensor([[tokenizer.image_token_id] * 2 + asked])
    rgb = (np.asarray(picture, np.float32) / 255 - MEAN) / STD
    pixels = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        out = model.generate(
            input_ids=ids, pixel_values=pixels, max_new_tokens=8, num_beams=2, do_sample=False
        )
    assert heard == tokenizer.batch_decode(out, skip_special_tokens=True)


def test_florence_answers_each_picture_of_a_batch(florence: Path) -> None:
    first, second = (Image.new("RGB", (40, 30), "red"),), (Image.new("RGB", (20, 60), "blue"),)
    captioner = Florence2(florence, "standard", "mine")
    together = captioner.describe([first, second])
    assert together == captioner.describe([first]) + captioner.describe([second])


def test_a_florence_with_its_own_program_is_refused(florence: Path, tmp_path: Path) -> None:
    for path in florence.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "configuration_florence2.Florence2Config"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TaggerUnusable, match=r"never run; take florence-community/"):
        Florence2(tmp_path, "standard")


def test_a_florence_that_lacks_weights_is_refused(florence: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in florence.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(florence / "model.safetensors")
    lost = next(name for name in weights if "multi_modal_projector" in name)
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(TaggerUnusable, match="lacks 1 weights"):
        Florence2(tmp_path, "standard")


def test_a_folder_is_a_tagger_by_what_it_holds(tmp_path: Path, florence: Path) -> None:
    write_tagger(tmp_path / "wd")
    assert find_tagger(str(tmp_path / "wd")) == tmp_path / "wd"
    assert open_tagger(tmp_path / "wd", "wd").style == "tags"
    assert find_tagger(str(florence)) == florence
    assert (find_tagger("starter") / "model.onnx").is_file()
    with pytest.raises(TaggerUnknown, match="holds no tagger"):
        find_tagger(str(tmp_path))


@pytest.mark.parametrize("name", ["wd15", "../escape", "/a/b", "a/b/c", "./x"])
def test_an_unknown_name_is_told_with_those_known(name: str) -> None:
    with pytest.raises(TaggerUnknown, match=r"Known: starter, wd-swinv2-tagger-v3"):
        find_tagger(name)


def test_the_usual_tagger_is_the_swin_of_the_third_family() -> None:
    chosen = defaults.tagger()
    assert defaults.models()[chosen.default] == "SmilingWolf/wd-swinv2-tagger-v3"
    assert (chosen.threshold, chosen.strict) == (0.35, 0.5)


def test_the_hub_is_asked_once_and_for_two_files_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_tagger(source)
    (source / "model.safetensors").write_bytes(b"not wanted")
    with hub_with("someone/tagger", source) as hub:
        first = asked(hub, tmp_path, "someone/tagger")
        fetched = sorted(hub.fetched)
        hub.fetched.clear()
        again = asked(hub, tmp_path, "someone/tagger")
        other = asked(hub, tmp_path, "someone/else")
    assert first == again == "model.onnx selected_tags.csv"
    assert (fetched, hub.fetched) == (["model.onnx", "selected_tags.csv"], [])
    assert "someone/else could not be fetched from the hub" in other


def test_a_repository_of_another_kind_is_refused_before_its_weights(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text('{"model_type": "llava"}')
    (tmp_path / "source" / "model.safetensors").write_bytes(b"very large")
    with hub_with("someone/llava", tmp_path / "source") as hub:
        told = asked(hub, tmp_path, "someone/llava")
    assert "someone/llava is no tagger" in told and hub.fetched == ["config.json"]


def asked(hub: Hub, home: Path, name: str) -> str:
    """What `find_tagger` finds, in a process of its own: the hub's address is fixed at import."""
    code = f"""
from loraloom.captions.auto.source import find_tagger
from loraloom.errors import TaggerUnknown
try:
    print(*sorted(path.name for path in find_tagger({name!r}).iterdir()))
except TaggerUnknown as error:
    print(error)
"""
    place = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home / "hub"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **place}, capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.strip()
