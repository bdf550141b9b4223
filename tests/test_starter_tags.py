"""The starter's tagger: its tags, its rules, and what the shipped one reads."""

import csv
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from loraloom.captions.auto.source import find_tagger
from loraloom.captions.auto.wd14 import Wd14
from loraloom.starter.judge import READS, labels
from loraloom.starter.measure import unseen_scenes
from loraloom.starter.tagnet import Tagger, TagNet, tag_shares
from loraloom.starter.tags import TAGS, UNSAID, true_tags
from loraloom.starter.training import pictures, tagging
from loraloom.starter.world.render import render_image
from loraloom.starter.world.scene import Scene, caption

NAMES = [tag.name for tag in TAGS]
SCENES = unseen_scenes(150) + unseen_scenes(150, held_out=True)


def test_every_phrase_of_a_caption_is_a_tag() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for scene in SCENES:
        said = set(caption(scene).split(", "))
        assert said <= true_tags(scene) <= set(NAMES)
        beside = true_tags(scene) - said
        assert beside == {scene[name] for name in UNSAID if scene[name]} & beside


def certain(scene: Scene, rng: random.Random) -> Mapping[str, Tensor]:
    """What a network would say that reads the scene well; of what is unseen it says anything."""
    found = {}
    for name, index in labels(scene).items():
        shares = torch.full((1, len(READS[name])), 0.02)
        shares[0, index if index >= 0 else rng.randrange(len(READS[name]))] = 0.9
        found[name] = shares / shares.sum()
    return found


def test_tags_are_said_where_they_can_be_seen() -> None:
    rng = random.Random(0)
    for scene in SCENES:
        answers = torch.stack(tag_shares(certain(scene, rng)), dim=1)[0]
        said = {name for name, share in zip(NAMES, answers.tolist(), strict=True) if share >= 0.35}
        assert said == true_tags(scene), scene


def test_one_value_an_attribute_is_said() -> None:
    shares = {name: torch.full((1, len(values)), 1 / len(values)) for name, values in READS.items()}
    shares["background"] = torch.tensor([[0.45, 0.4, *[0.025] * 6]])
    answers = dict(zip(NAMES, torch.stack(tag_shares(shares), dim=1)[0].tolist(), strict=True))
    assert answers["white background"] == pytest.approx(0.45)
    assert answers["gray background"] == 0


def test_the_file_names_these_tags_in_this_order() -> None:
    folder = find_tagger("starter")
    with (folder / "selected_tags.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"].replace("_", " ") for row in rows] == NAMES
    assert {row["category"] for row in rows} == {"0"}
    assert (folder / "model.onnx").stat().st_size < 5_000_000


@pytest.mark.parametrize(("held_out", "least"), [(False, 0.97), (True, 0.93)])
def test_the_shipped_tagger_reads_pictures_that_it_has_not_seen(
    held_out: bool, least: float
) -> None:
    scenes = unseen_scenes(60, held_out=held_out)
    answers = Wd14(find_tagger("starter")).describe([(render_image(s),) for s in scenes])
    found = [{tag.name for tag in answer.tags if tag.share >= 0.35} for answer in answers]
    wanted = [true_tags(scene) for scene in scenes]
    right = sum(len(f & w) for f, w in zip(found, wanted, strict=True))
    assert right / sum(map(len, found)) > least
    assert right / sum(map(len, wanted)) > least


@pytest.mark.filterwarnings("ignore:You are using the legacy TorchScript")
def test_what_is_written_is_what_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two steps of training, then the written network against torch's own, float16 apart."""
    for module in (pictures, tagging):
        monkeypatch.setattr(module, "SPLITS", {"base": 40, "wide": 40, "test": 50})
    for split in ("base", "wide", "test"):
        drawn = [render_image(pictures.scene_of(split, n)) for n in range(pictures.SPLITS[split])]
        np.save(tmp_path / f"{split}.npy", np.stack([np.asarray(picture) for picture in drawn]))
    net = tagging.train_tagger(tmp_path, minutes=0.01)
    tagging.write_tagger(net, tmp_path / "out")
    seen = np.load(tmp_path / "test.npy")[:3]
    answered = Wd14(tmp_path / "out").shares([Image.fromarray(pixels) for pixels in seen])
    with torch.no_grad():
        wanted = Tagger(net)(torch.from_numpy(seen[..., ::-1].astype(np.float32)))
    assert np.abs(answered - wanted.numpy()).max() < 0.02
    resumed = TagNet()
    resumed.load_state_dict(torch.load(tmp_path / "tagger.pt", weights_only=True)["module"])
    tagging.measure(tmp_path, tmp_path / "out")
    told = capsys.readouterr().out
    assert "50 held-out pictures" in told and "background" in told and "recall" in told
