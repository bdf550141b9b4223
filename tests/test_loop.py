from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from tests import tiny
from tests.tiny_families import distance

from loraloom import config_tree, families, train
from loraloom.config import TrainConfig
from loraloom.errors import (
    CheckpointUnusable,
    FolderMissing,
    LossNotFinite,
    NothingToTrain,
    OutputExists,
)
from loraloom.generate.session import Generator, Request
from loraloom.train import forward, inputs, model, prior
from loraloom.train.cache import TensorCache
from loraloom.train.events import (
    Event,
    Finished,
    Sampled,
    Saved,
    Stage,
    Started,
    Step,
    Validated,
    Warned,
)
from loraloom.train.samples import sample
from loraloom.train.setup import prepare
from loraloom.train.stop import StopRequest, TrainingStopped


def test_everything_at_once(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(
        base, pictures,
        accumulation=2,
        text_encoder={"ratio": 0.5},
        prior={"images": 3},
        samples={"prompts": ["zk person, close up"], "steps": 2, "every_steps": 3},
        adapter={"dropout": 0.1},
    )  # fmt: skip
    out = tmp_path / "out"
    events = list(train.run(config, out))

    assert [e.step for e in events if isinstance(e, Step)] == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events if isinstance(e, Validated)] == [3, 6]
    assert [e.step for e in events if isinstance(e, Saved)] == [2, 4, 6]
    stages = {e.name for e in events if isinstance(e, Stage)}
    assert stages == {"prior", "latents", "captions", "samples"}
    started = next(e for e in events if isinstance(e, Started))
    assert (started.items, started.held_out, started.prior_images) == (5, 1, 3)
    assert all(p.is_file() for e in events if isinstance(e, Sampled) for p in e.paths)
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.adapter == out / "adapter.safetensors"
    keys = load_file(finished.adapter).keys()
    assert {key[: key.index("_", 5)] for key in keys} == {"lora_unet", "lora_te"}
    assert (out / "adapter-diffusers.safetensors").is_file()
    assert len(list((out / "adapters").iterdir())) == 2
    lines = (out / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines][-1] == "finished"
    assert config_tree.validate(config_tree.read_toml(out / "config.toml")) == config


def test_the_base_stays_as_it_is(base: Path, pictures: Path, tmp_path: Path) -> None:
    setup = prepare(tiny.config(base, pictures, text_encoder={"ratio": 1.0}), tmp_path / "out")
    tensors = TensorCache(tmp_path / "cache")
    assert list(inputs.prepare(setup, tensors))
    live = model.load(setup, tensors)
    before = {n: p.clone() for n, p in live.parts.denoiser.named_parameters()}
    for step in (1, 2):
        forward.batch_loss(setup, live, tensors, setup.examples[:2], step, 0).backward()  # type: ignore[no-untyped-call]
        live.optimiser.step()
    changed = {
        n for n, p in live.parts.denoiser.named_parameters() if not torch.equal(p, before[n])
    }
    assert changed and all(".lora_" in name for name in changed)
    encoder = live.parts.text_encoder
    assert all(".lora_" in n for n, p in encoder.named_parameters() if p.grad is not None)
    assert any(p.grad is not None and p.grad.any() for p in encoder.parameters())


def test_it_learns(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(
        base, pictures, schedule={"steps": 30, "warmup_steps": 0}, validation={"every_steps": 10},
        adapter={"rank": 8, "alpha": 8.0, "targets": "full"},
    )  # fmt: skip
    losses = [e.train_loss for e in train.run(config, tmp_path / "o") if isinstance(e, Validated)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] - 0.01


def test_bfloat16_trains_a_float32_adapter(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, precision="bfloat16", samples={"prompts": ["a"]})
    finished = list(train.run(config, tmp_path / "out"))[-1]
    assert isinstance(finished, Finished)
    tensors = load_file(finished.adapter)
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    assert any(t.any() for name, t in tensors.items() if "up" in name)


def test_an_adapter_of_another_alpha_is_another_adapter(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    config = tiny.config(base, pictures, schedule={"steps": 1}, adapter={"alpha": 0.5})
    *_, finished = train.run(config, tmp_path / "out")
    assert isinstance(finished, Finished)
    alphas = {t.item() for n, t in load_file(finished.adapter).items() if n.endswith(".alpha")}
    assert alphas == {0.5}


def test_finished_run_is_not_overwritten(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, schedule={"steps": 2})
    *_, finished = train.run(config, tmp_path)
    with pytest.raises(OutputExists, match="finished run"):
        next(train.run(config, tmp_path))
    assert list(train.run(config, tmp_path, resume=True)) == [finished]
    other = tiny.config(base, pictures, schedule={"steps": 3}, seed=1)
    with pytest.raises(CheckpointUnusable, match=r"schedule\.steps, seed"):
        next(train.run(other, tmp_path, resume=True))


def test_resume_without_a_run_says_so(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, schedule={"steps": 1})
    warned = [e.message for e in train.run(config, tmp_path / "a", resume=True)
              if isinstance(e, Warned)]  # fmt: skip
    assert any("no checkpoint to go on from" in message for message in warned)
    afresh = [e.message for e in train.run(config, tmp_path / "b") if isinstance(e, Warned)]
    assert not any("checkpoint" in message for message in afresh)


def test_broken_checkpoints_never_restart_a_run(base: Path, pictures: Path, tmp_path: Path) -> None:
    events = train.run(tiny.config(base, pictures), tmp_path)
    while not (isinstance(event := next(events), Saved) and event.step == 4):
        pass
    events.close()  # type: ignore[attr-defined]
    for path in tmp_path.glob("checkpoints/*/tensors.safetensors"):
        path.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(CheckpointUnusable, match="Every checkpoint"):
            list(train.run(tiny.config(base, pictures), tmp_path, resume=True))


def test_unfinished_run_wants_resume_with_the_same_settings(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    config = tiny.config(base, pictures)
    events = train.run(config, tmp_path)
    while not isinstance(next(events), Saved):
        pass
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(OutputExists, match="--resume"):
        next(train.run(config, tmp_path))
    other = tiny.config(base, pictures, adapter={"rank": 3})
    with pytest.raises(CheckpointUnusable, match=r"adapter\.rank"):
        next(train.run(other, tmp_path, resume=True))


def test_broken_checkpoint_falls_back(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures)
    events = train.run(config, tmp_path)
    while not (isinstance(event := next(events), Saved) and event.step == 4):
        pass
    events.close()  # type: ignore[attr-defined]
    (tmp_path / "checkpoints/step-000004/tensors.safetensors").write_bytes(b"")
    rest = list(train.run(config, tmp_path, resume=True))
    assert any(isinstance(e, Warned) and "moved aside" in e.message for e in rest)
    assert next(e.step for e in rest if isinstance(e, Step)) == 3


def test_nan_stops_and_keeps_the_checkpoint(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = forward.batch_loss

    def failing(*args: object) -> torch.Tensor:
        loss = plain(*args)  # type: ignore[arg-type]
        return loss * float("nan") if args[4] == 5 else loss

    monkeypatch.setattr(forward, "batch_loss", failing)
    with pytest.raises(LossNotFinite, match=r"step 5\. The checkpoint of step 4 is kept"):
        list(train.run(tiny.config(base, pictures), tmp_path))
    assert (tmp_path / "checkpoints/step-000004").is_dir()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_saves_and_says_how_to_go_on(
    base: Path, pictures: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    events = train.run(tiny.config(base, pictures), tmp_path)
    seen = []
    with pytest.raises(TrainingStopped, match="--resume"):
        for event in events:
            seen.append(event)
            if isinstance(event, Step) and event.step == 3:
                signal.raise_signal(number)
    assert isinstance(seen[-1], Saved) and seen[-1].step == 3
    assert signal.getsignal(number) == before


def test_a_stop_is_told_at_once(base: Path, pictures: Path, tmp_path: Path) -> None:
    told: list[str] = []
    stop = StopRequest(lambda: told.append("stopping"))
    with pytest.raises(TrainingStopped):
        for event in train.run(tiny.config(base, pictures), tmp_path, stop=stop):
            if isinstance(event, Step) and event.step == 1:
                signal.raise_signal(signal.SIGINT)
                assert told == ["stopping"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
def test_sigusr1_ends_with_the_step_at_hand(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures)
    list(train.run(config, tmp_path / "whole"))
    last: Event | None = None
    for last in train.run(config, tmp_path / "ended"):
        if isinstance(last, Step) and last.step == 3:
            signal.raise_signal(signal.SIGUSR1)
    assert isinstance(last, Finished) and last.step == 3
    kept, whole = (
        (tmp_path / run / "adapters/step-000003.safetensors").read_bytes()
        for run in ("ended", "whole")
    )
    assert kept == whole
    assert (tmp_path / "ended/adapter.safetensors").is_file()
    (again,) = train.run(config, tmp_path / "ended", resume=True)
    assert isinstance(again, Finished) and again.step == 3


def test_stop_before_the_first_step(base: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="before the first step"):
        for event in train.run(tiny.config(base, pictures), tmp_path):
            if isinstance(event, Stage):
                signal.raise_signal(signal.SIGINT)


def test_prior_pictures_do_not_depend_on_a_stop(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, prior={"images": 9, "steps": 2})
    setup = prepare(config, tmp_path)

    def draw(folder: Path) -> list[bytes]:
        for _ in prior.generate(
            config, setup.family, base, setup.examples, folder, device="cpu", dtype=torch.float32
        ):
            pass
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    whole = draw(tmp_path / "prior")
    assert len(set(whole)) == 9
    (tmp_path / "prior/0002.png").unlink()
    assert draw(tmp_path / "prior") == whole


def test_class_prompts(base: Path, pictures: Path) -> None:
    config = tiny.config(base, pictures)
    assert prior.class_prompt("Zk person, a hat", config) == "person, a hat"
    assert prior.class_prompt("zk persons", config) == "zk persons"
    fixed = tiny.config(base, pictures, prior={"class_prompt": "a man"})
    assert prior.class_prompt("zk person, a hat", fixed) == "a man"


def test_no_module_to_train(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, adapter={"targets": ["nothing_like_it"]})
    with pytest.raises(NothingToTrain, match=r"adapter\.targets"):
        list(train.run(config, tmp_path / "out"))


def test_each_target_must_match(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, adapter={"targets": ["to_q", "to_qq", "attn1"]})
    with pytest.raises(NothingToTrain, match=r"ends in 'to_qq', 'attn1'\."):
        list(train.run(config, tmp_path / "out"))


def test_warnings_on_the_pictures(base: Path, tmp_path: Path) -> None:
    folder = tiny.save_pictures(tmp_path / "p", 5)
    for number in (1, 3):
        Image.new("RGB", (31, 40), (number, 0, 0)).save(folder / f"{number}.png")
    small = prepare(tiny.config(base, folder, schedule={"steps": 5000}), tmp_path / "out")
    few, soft = (warned.message for warned in small.warnings)
    assert few == "5 pictures are few for kind = character: 25 to 35 are recommended."
    assert soft.startswith("2 of 5 pictures are smaller than the training resolution")
    late = tiny.config(base, folder, schedule={"steps": 500, "warmup_steps": 600})
    told = [warned.message for warned in prepare(late, tmp_path / "out").warnings]
    assert any("warmup_steps = 600 is more than schedule.steps = 500" in text for text in told)
    many = tiny.save_pictures(tmp_path / "many", 51)
    setup = prepare(tiny.config(base, many, schedule={"steps": 5000}), tmp_path / "out")
    assert [warned.message.split(" for ")[0] for warned in setup.warnings] == [
        "51 pictures are many"
    ]


def test_file_tells_no_place_and_what_shaped_it(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(
        base, pictures, schedule={"steps": 2}, clip_skip=1, accumulation=2,
        samples={"prompts": ["my secret"], "steps": 1},
    )  # fmt: skip
    list(train.run(config, tmp_path))
    with safe_open(tmp_path / "adapter.safetensors", "pt") as opened:
        metadata = opened.metadata()
    recipe = json.loads(metadata["loraloom.recipe"])
    assert recipe["base"] == base.name and recipe["adapter"]["rank"] == 2
    assert not any(
        str(place) in value or "secret" in value
        for place in (base.parent, pictures.parent) for value in metadata.values()
    )  # fmt: skip
    assert (metadata["ss_clip_skip"], metadata["ss_total_batch_size"]) == ("2", "4")


def test_samples_and_class_pictures_heed_long_prompts_and_clip_skip(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    def drawn(word: str, clip_skip: int = 0) -> tuple[bytes, bytes]:
        prompt = "ab " * 50 + word  # two tokens a word
        config = tiny.config(
            base, pictures, clip_skip=clip_skip, samples={"prompts": [prompt], "steps": 1},
            prior={"images": 1, "steps": 1, "class_prompt": prompt},
        )  # fmt: skip
        setup = prepare(config, tmp_path / f"{word}-{clip_skip}")
        tensors = TensorCache(setup.out / "cache")
        list(inputs.prepare(setup, tensors))
        sampled = sample(setup, model.load(setup, tensors), tensors, 1)
        return sampled.paths[0].read_bytes(), (setup.out / "prior" / "0000.png").read_bytes()

    plain, others = drawn("cat"), [drawn("dog"), drawn("cat", 1)]
    for other in others:
        assert plain[0] != other[0] and plain[1] != other[1]


def test_the_first_samples_are_those_of_the_base(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    drawn = {"prompts": ["zk person"], "every_steps": 6, "steps": 2, "guidance": 3.0, "seed": 5}
    config = tiny.config(base, pictures, samples=drawn)
    events = list(train.run(config, tmp_path))
    first, last = [[Image.open(e.paths[0])] for e in events if isinstance(e, Sampled)]
    side = first[0].width
    wanted = Request("zk person", seed=5, guidance=3.0, steps=2, width_px=side, height_px=side)
    alone = Generator(base).generate([wanted])
    assert distance(first, alone) <= 1 < distance(last, alone)


def test_samples_are_decoded_in_tiles_where_the_memory_is_too_small(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = AutoencoderKL.decode
    tiled: list[bool] = []

    def decode(vae: Any, *args: Any, **kwargs: Any) -> object:
        if vae.device.type == "meta":  # the plan's
            return whole(vae, *args, **kwargs)
        tiled.append(vae.use_tiling)
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(vae, *args, **kwargs)

    monkeypatch.setattr(AutoencoderKL, "decode", decode)
    drawn = {"prompts": ["a", "b"], "every_steps": 6, "steps": 2}
    events = list(train.run(tiny.config(base, pictures, samples=drawn), tmp_path / "out"))
    sampled = [event for event in events if isinstance(event, Sampled)]
    assert [len(event.paths) for event in sampled] == [2, 2]
    assert tiled == [False, True, True] * 2


def test_a_run_goes_on_where_samples_have_no_memory(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*args: object, **kwargs: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("loraloom.train.loop.sample", exhausted)
    drawn = {"prompts": ["a"], "every_steps": 3}
    events = list(train.run(tiny.config(base, pictures, samples=drawn), tmp_path / "out"))
    said = [event.message for event in events if isinstance(event, Warned)]
    assert sum("no memory for the samples" in message for message in said) == 3
    assert isinstance(events[-1], Finished)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR2")
def test_what_is_asked_while_the_base_is_looked_at_does_not_end_the_run(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*args: Any) -> object:
        signal.raise_signal(signal.SIGUSR2)
        return prepare(*args)

    monkeypatch.setattr("loraloom.train.loop.prepare", slowly)
    drawn = {"prompts": ["a"], "every_steps": 0, "steps": 2}
    events = list(train.run(tiny.config(base, pictures, samples=drawn), tmp_path / "out"))
    assert [event.step for event in events if isinstance(event, Sampled)] == [1]


def test_samples_need_no_text_encoder_that_is_not_trained(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(base, tmp_path / "base")
    drawn = {"prompts": ["zk person"], "every_steps": 3, "steps": 2}
    events = []
    for event in train.run(tiny.config(own, pictures, samples=drawn), tmp_path / "out"):
        if isinstance(event, Started):
            shutil.rmtree(own / "text_encoder")
        events.append(event)
    assert [event.step for event in events if isinstance(event, Sampled)] == [0, 3, 6]


def test_wrong_input_leaves_no_folder(base: Path, pictures: Path, tmp_path: Path) -> None:
    good = tiny.config(base, pictures)
    data = good.data.model_copy(update={"folder": tmp_path / "none"})
    config: TrainConfig = good.model_copy(update={"data": data})
    with pytest.raises(FolderMissing):
        next(train.run(config, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_pipeline_reads_both_files(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(base, pictures, schedule={"steps": 2}, text_encoder={"ratio": 1.0})
    list(train.run(config, tmp_path))
    family = families.get("sd15")
    images = []
    for name in ("adapter.safetensors", "adapter-diffusers.safetensors"):
        pipe = family.pipeline(family.load(base))
        pipe.load_lora_weights(tmp_path / name)
        generator = torch.Generator().manual_seed(0)
        result = pipe("zk", num_inference_steps=2, generator=generator, output_type="np")
        images.append(torch.from_numpy(result.images))
    torch.testing.assert_close(images[0], images[1])
