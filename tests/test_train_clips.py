"""Clips from a folder or a stored set into the training of a base of video."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from PIL import Image
from tests import clips as films
from tests import tiny, tiny_families

from loraloom import families, train
from loraloom.config import DataConfig, ObjectiveConfig, PriorConfig
from loraloom.dataset import footage, intake, reference
from loraloom.dataset.folder import Item, read_folder
from loraloom.dataset.store import Store
from loraloom.errors import ConfigInvalid, DatasetProblems, ImageUnreadable
from loraloom.families.info import BaseProfile, FrameRule
from loraloom.train import batches, clips, planning
from loraloom.train.cache import in_groups, latent_key, load_clip
from loraloom.train.events import Finished, Planned, Sampled, Warned
from loraloom.train.objective import Flow, objective_of
from loraloom.train.recipe import fill
from loraloom.train.setup import prepare

RULE = FrameRule(least=16, most=81, step=4, fps=16)
PROFILE = BaseProfile("Tiny", 32, 16, 2.0, family="Wan", frames=RULE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clip of 32 numbered frames at 32 a second, a folder of 12 frames, and two pictures."""
    folder = tiny.save_pictures(tmp_path / "set", 2)
    frames = (films.numbered(number, 64, 48) for number in range(32))
    films.write_clip(folder / "film.mp4", frames, fps=32)
    (folder / "film.txt").write_text("zk person, walking")
    for number in range(12):
        picture = films.numbered(number, 50, 40)
        place = folder / "still" / f"{number + 1}.png"  # 10 comes after 9
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(place)
    (folder / "still.txt").write_text("zk person, standing")
    return folder


def _data(folder: Path, frames: int | None) -> DataConfig:
    return DataConfig(folder=folder, frames=frames)


def _examples(folder: Path, frames: int | None) -> dict[str, batches.Example]:
    items = read_folder(folder, clips=True).items
    found = batches.examples_of(items, _data(folder, frames), PROFILE)
    return {example.path.name: example for example in found}


def _numbers(pixels: torch.Tensor) -> list[int]:
    """Which frame `films.numbered` drew, of each of (3, F, H, W)."""
    grey = (pixels.mean(dim=(0, 2, 3)) + 1) * 127.5
    return [round(float(value) / 8) for value in grey]


def test_a_clips_frames_come_at_the_bases_rate(folder: Path) -> None:
    examples = _examples(folder, 9)
    film, still, picture = (examples[name] for name in ("film.mp4", "still", "0.png"))
    # 32 frames a second taken at 16: every second one. Frames of a folder are taken as they are.
    assert _numbers(load_clip(film, False)) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert _numbers(load_clip(still, False)) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert load_clip(picture, False).shape == (3, 1, 32, 32)
    # 12 frames are two of four more than one: 4 x 2 + 1.
    assert _examples(folder, 33)["still"].crop.bucket.frames == 9
    # The whole second holds 16 frames; 13 = 4 x 3 + 1 of them can be used.
    assert _examples(folder, 33)["film.mp4"].crop.bucket.frames == 13


def test_a_clip_is_cut_and_mirrored_as_pictures_are(folder: Path) -> None:
    example = _examples(folder, 5)["film.mp4"]
    bucket = example.crop.bucket
    assert load_clip(example, False).shape == (3, 5, bucket.height_px, bucket.width_px)
    left = np.zeros((40, 50, 3), np.uint8)
    left[:, :10] = 255
    for path in (folder / "still").iterdir():
        Image.fromarray(left).save(path)
    moving = _examples(folder, 5)["still"]
    plain, turned = load_clip(moving, False), load_clip(moving, True)
    assert torch.equal(plain.flip(3), turned) and not torch.equal(plain, turned)


def test_batches_hold_clips_of_one_length(folder: Path) -> None:
    examples = list(_examples(folder, 13).values())
    for batch in batches.plan(examples, 2, 20, 0.0, seed=1):
        assert len({example.crop.bucket for example in batch}) == 1
    assert {e.crop.bucket.frames for e in examples} == {1, 9, 13}


def test_latents_are_known_by_content_frames_and_rate(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy/film.mp4").rename(tmp_path / "copy/other.mp4")
    (tmp_path / "copy/film.txt").rename(tmp_path / "copy/other.txt")
    one, other = _examples(folder, 9)["film.mp4"], _examples(tmp_path / "copy", 9)["other.mp4"]
    longer = _examples(folder, 13)["film.mp4"]
    keys = [latent_key("vae", example, False) for example in (one, other, longer)]
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "copy/still/3.png").unlink()
    before, after = _examples(folder, 9)["still"], _examples(tmp_path / "copy", 9)["still"]
    assert latent_key("vae", before, False) != latent_key("vae", after, False)


def test_a_base_of_pictures_refuses_clips(folder: Path) -> None:
    with pytest.raises(DatasetProblems, match=r"film\.mp4: \.mp4 files are not accepted"):
        read_folder(folder)


def test_what_is_wrong_with_clips_is_told(folder: Path) -> None:
    item = Item(folder / "film.mp4", "walking", "a", 64, 48, frames=4, fps=24.0)
    with pytest.raises(DatasetProblems, match=r"film\.mp4: is too short: 2 frames at 16 a second"):
        clips.refuse_short([item], _data(folder, 33), PROFILE)
    clips.refuse_short([item], _data(folder, 1), PROFILE)  # its first frame was asked for
    with pytest.raises(ConfigInvalid, match=r"prior.images = 3 is not possible with clips"):
        clips.refuse_prior([item], PriorConfig(images=3))
    Image.fromarray(films.numbered(1, 48, 40)).save(folder / "still" / "7.png")
    with pytest.raises(DatasetProblems, match=r"still/7\.png: has 48 × 40 px"):
        read_folder(folder, clips=True)
    for path in list((folder / "still").iterdir())[1:]:
        path.unlink()
    with pytest.raises(ImageUnreadable, match=r"a single frame"):
        footage.read(folder / "still")


def test_long_and_slow_clips_are_told(folder: Path) -> None:
    long = Item(folder / "a.mp4", "", "a", 64, 48, frames=120, fps=24.0)
    slow = Item(folder / "b.mp4", "", "b", 64, 48, frames=20, fps=10.0)
    found = list(clips.warnings([long, slow], _data(folder, 33), PROFILE))
    assert [text.partition(" clips")[0] for text in found] == ["1 of 2", "1 of 2"]
    assert "at most 33 at 16 a second" in found[0] and "come twice" in found[1]
    assert not list(clips.warnings([], _data(folder, 33), PROFILE))


def test_frames_that_a_base_cannot_take_are_refused() -> None:
    wan = families.get("wan").info
    for given in ({"data": {"folder": "p", "frames": 30}},
                  {"data": {"folder": "p"}, "samples": {"frames": 30}}):  # fmt: skip
        with pytest.raises(ConfigInvalid, match=r"takes 4 k \+ 1 frames: 29 or 33"):
            fill(given, wan, PROFILE, 20)
    with pytest.raises(ConfigInvalid, match=r"data.frames = 33 has no effect on .*draws pictures"):
        fill({"data": {"folder": "p", "frames": 33}}, families.get("sd3").info, PROFILE, 20)


def test_a_solver_of_flows_is_trained_as_a_flow() -> None:
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    config = ObjectiveConfig(times="uniform", shift=3.0)
    found = objective_of(scheduler, config)
    assert isinstance(found, Flow)
    assert found.draw(0.5, 1, 9).item() == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))


def test_latent_frames_come_in_groups() -> None:
    latents = torch.arange(3.0).view(1, 1, 3, 1, 1)
    assert in_groups(latents, 2).flatten().tolist() == [0, 0, 1, 2]
    assert in_groups(latents, 3).flatten().tolist() == [0, 1, 2]
    assert in_groups(latents[:, :, :1], 2).flatten().tolist() == [0, 0]


def test_a_stored_set_brings_its_clips(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    shutil.rmtree(folder / "still")
    (folder / "still.txt").unlink()
    intake.import_into(Store().place("films"), [folder])
    items = reference.read("films", clips=True).items
    (example,) = [e for e in batches.examples_of(items, _data(folder, 9), PROFILE) if e.fps]
    assert _numbers(load_clip(example, False)) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert len(items) == reference.count("films", clips=True) == 3


def test_a_mask_beside_a_clip_is_told(folder: Path) -> None:
    (folder / "masks").mkdir()
    for name, size in (("film", (64, 48)), ("0", (40, 40))):
        Image.new("L", size, 255).save(folder / f"masks/{name}.png")
    told = read_folder(folder, clips=True).notes
    assert told == ("masks/film.png: a mask without a picture.",)
    (folder / "masks/0.png").unlink()  # now nothing shows that the folder is one of masks
    told = read_folder(folder, clips=True).notes
    assert told == ("masks/film.png: clips have no masks, and this one is not used.",)


def test_a_set_is_planned_with_the_frames_that_it_has(folder: Path, tmp_path: Path) -> None:
    base = tiny_families.save("wan", tmp_path / "base")
    config = tiny.config(base, folder, data={"frames": 33, "held_out_fraction": 0})
    assert planning.as_used(prepare(config, tmp_path / "out")).data.frames == 13
    for path in (folder / "film.mp4", folder / "film.txt", folder / "still.txt"):
        path.unlink()
    shutil.rmtree(folder / "still")
    assert planning.as_used(prepare(config, tmp_path / "out")).data.frames == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames"), [("wan22", 5), ("hunyuan_video", 5),
                                              ("hunyuan_video15", 5),
                                              ("cogvideox_15", 9)])  # fmt: skip
def test_each_base_of_video_is_planned_and_trained(
    folder: Path, tmp_path: Path, name: str, frames: int
) -> None:
    config = tiny.config(
        tiny_families.save(name, tmp_path / "base"), folder,
        data={"frames": frames, "held_out_fraction": 0}, schedule={"steps": 2, "warmup_steps": 0},
        adapter={"targets": "blocks"}, validation={"every_steps": 2, "subset": 1},
    )  # fmt: skip
    events = list(train.run(config, tmp_path / "out"))
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert planned.peak_mib > 0
    assert isinstance(events[-1], Finished) and events[-1].adapter.is_file()


@pytest.mark.slow
def test_a_run_on_clips_leaves_an_adapter_and_a_moving_sample(folder: Path, tmp_path: Path) -> None:
    base = tiny_families.save("wan", tmp_path / "base")
    config = tiny.config(
        base, folder, data={"folder": str(folder), "frames": 5, "held_out_fraction": 0},
        adapter={"rank": 2, "alpha": 1.0, "targets": "blocks"}, validation={"every_steps": 6},
        samples={"prompts": ["zk person, walking"], "steps": 2, "every_steps": 6},
    )  # fmt: skip
    events = list(train.run(config, tmp_path / "out"))
    assert isinstance(events[-1], Finished) and events[-1].adapter.is_file()
    assert any(isinstance(e, Warned) and "go on after the frames" in e.message for e in events)
    _, sampled = [event for event in events if isinstance(event, Sampled)]
    names = sorted(path.name for path in (tmp_path / "out/samples").iterdir())
    assert names[2:] == ["step-000006-0.mp4", "step-000006-0.png"] and len(names) == 4
    assert footage.read(sampled.paths[0]).frames == 5
    assert footage.read(sampled.paths[0]).fps == 16
    setup = prepare(config, tmp_path / "out")
    assert sorted(e.crop.bucket.frames for e in setup.examples) == [1, 1, 5, 5]
