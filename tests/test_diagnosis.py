"""Each fault on a run of a tiny model that really has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from tests import clips as films
from tests import tiny

from loraloom import train
from loraloom.config import ScheduleConfig, TrainConfig
from loraloom.errors import LossNotFinite, MemoryExhausted
from loraloom.train import diagnosis, forward, loop
from loraloom.train.events import (
    Diagnosed,
    Event,
    Finished,
    Planned,
    Sampled,
    Saved,
    Validated,
    Warned,
)


def _run(base: Path, pictures: Path, out: Path, **overrides: Any) -> list[Event]:
    return list(train.run(tiny.config(base, pictures, **overrides), out))


def _faults(events: list[Event]) -> dict[str, Diagnosed]:
    return {event.fault: event for event in events if isinstance(event, Diagnosed)}


STEPS: dict[str, Any] = {
    "schedule": {"steps": 16, "warmup_steps": 0, "name": "constant"},
    "validation": {"every_steps": 2, "timesteps": [0.2, 0.5, 0.8]},
    "adapter": {"rank": 8, "alpha": 8.0, "targets": "full"},
}


def test_a_rate_too_low(base: Path, pictures: Path, tmp_path: Path) -> None:
    events = _run(base, pictures, tmp_path, **STEPS, optimiser={"learning_rate": 1e-8})
    found = _faults(events)
    assert found.keys() == {"loss_flat"} and found["loss_flat"].step == 8
    assert "Raise optimiser.learning_rate" in found["loss_flat"].message


def test_a_rate_too_high(base: Path, pictures: Path, tmp_path: Path) -> None:
    events = _run(base, pictures, tmp_path, **STEPS, optimiser={"learning_rate": 0.05})
    found = _faults(events)
    assert "a third of optimiser.learning_rate" in found["loss_rising"].message


def test_a_rate_too_high_by_turns(base: Path, pictures: Path, tmp_path: Path) -> None:
    """It rises where the restarting schedule is high and falls where that is low, on all pictures;
    nothing is learnt by heart, and more steps would not help."""
    schedule = {"steps": 16, "warmup_steps": 0, "name": "cosine_restarts", "cycles": 4}
    events = _run(
        base, pictures, tmp_path, **{**STEPS, "schedule": schedule},
        optimiser={"learning_rate": 0.06},
    )  # fmt: skip
    found = _faults(events)
    assert "raise accumulation" in found["loss_unsteady"].message
    assert found.keys() <= {"loss_unsteady", "loss_rising"}


def test_what_is_lost_on_all_pictures_is_not_learnt_by_heart(base: Path, pictures: Path) -> None:
    watch = diagnosis.Watch(tiny.config(base, pictures, schedule={"steps": 100}))
    course = [(10, 0.5, 0.5), (20, 0.4, 0.4), (30, 0.5, 0.5), (40, 0.4, 0.45)]
    told = [
        found.fault
        for step, train_loss, held_out in course
        for found in watch.see(Validated(step, train_loss, held_out, held_out - train_loss))
    ]
    assert told == ["overfitting"]


def test_a_run_cut_short(base: Path, pictures: Path, tmp_path: Path) -> None:
    events = _run(base, pictures, tmp_path, **STEPS, optimiser={"learning_rate": 1e-3})
    found = _faults(events)
    assert found.keys() == {"unfinished"}
    assert "more schedule.steps" in found["unfinished"].message


def test_pictures_learnt_by_heart(base: Path, pictures: Path) -> None:
    """What is learnt of some becomes wrong for the others: 0.52 is 16 % above 0.45."""
    watch = diagnosis.Watch(tiny.config(base, pictures, schedule={"steps": 100}))
    course = [(10, 0.5, 0.5), (20, 0.4, 0.45), (30, 0.3, 0.47), (40, 0.2, 0.52), (50, 0.1, 0.6)]
    told = [
        fault
        for step, train_loss, held_out in course
        for fault in watch.see(Validated(step, train_loss, held_out, held_out - train_loss))
    ]
    (found,) = told
    assert (found.step, found.fault) == (40, "overfitting")
    assert "16% above its lowest, at step 20" in found.message
    assert "fewer schedule.steps" in found.message


def test_pictures_of_one_light(pictures: Path, tmp_path: Path) -> None:
    """The decoder of this base makes all orange, as pictures of one light would in time."""
    base = tiny.save_base(tmp_path / "base")
    vae = AutoencoderKL.from_pretrained(base / "vae")
    with torch.no_grad():
        vae.decoder.conv_out.weight *= 0.05
        vae.decoder.conv_out.bias.copy_(torch.tensor([0.88, 0.02, -0.84]))
    vae.save_pretrained(base / "vae")
    prompts = [f"zk person, shade {number}" for number in range(4)]
    events = _run(
        base, pictures, tmp_path / "out", schedule={"steps": 2},
        samples={"prompts": prompts, "steps": 2, "every_steps": 1},
    )  # fmt: skip
    assert [e.step for e in events if isinstance(e, Sampled)] == [0, 1, 2]
    found = _faults(events)["colour_cast"]
    assert found.step == 1 and "100% of the samples lean to orange" in found.message
    assert "white balance" in found.message


def test_a_loss_that_is_no_number(base: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(LossNotFinite, match=r"lower optimiser.learning_rate"):
        _run(
            base, pictures, tmp_path, schedule={"steps": 40, "warmup_steps": 0},
            optimiser={"learning_rate": 1.0, "max_grad_norm": 1e30},
            adapter={"rank": 2, "alpha": 1024.0, "targets": "full"}, validation={"every_steps": 0},
        )  # fmt: skip


def test_memory_that_is_used_up(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = forward.batch_loss

    def greedy(*args: Any) -> torch.Tensor:
        torch.empty(2**50)
        return plain(*args)

    monkeypatch.setattr(forward, "batch_loss", greedy)
    with pytest.raises(MemoryExhausted, match=r"used up in step 1: .*Try in this order: gradient"):
        _run(base, pictures, tmp_path)


def test_a_sound_run_has_no_fault_and_its_memory_is_noted(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    events = _run(
        base, pictures, tmp_path, **{**STEPS, "schedule": {"steps": 30, "warmup_steps": 2}},
        optimiser={"learning_rate": 1e-2}, data={"held_out_fraction": 0.0},
    )  # fmt: skip
    assert _faults(events).keys() <= {"unfinished"}
    planned = next(e for e in events if isinstance(e, Planned))
    assert events.index(planned) == 0 and planned.peak_mib < planned.available_mib
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.peak_mib > 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["planned"]["peak_mib"] == planned.peak_mib
    assert record["finished"]["peak_mib"] == finished.peak_mib


def test_a_fault_is_told_once_over_a_resume(base: Path, pictures: Path, tmp_path: Path) -> None:
    config = tiny.config(
        base, pictures, **STEPS, optimiser={"learning_rate": 1e-8}, checkpoint={"every_steps": 5}
    )
    events, told = train.run(config, tmp_path), list[Event]()
    for event in events:
        told.append(event)
        if isinstance(event, Saved) and event.step == 10:
            break
    events.close()  # type: ignore[attr-defined]
    told += train.run(config, tmp_path, resume=True)
    assert [e.fault for e in told if isinstance(e, Diagnosed)] == ["loss_flat"]


def test_too_little_memory_is_told_before_the_start(
    base: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.machine, "total_mib", lambda _: 10)
    events = train.run(tiny.config(base, pictures), tmp_path)
    first, second = next(events), next(events)
    assert isinstance(first, Planned) and isinstance(second, Warned)
    assert "there are 0.0 GiB. Try in this order: gradient checkpointing (--set" in second.message


@pytest.mark.parametrize(
    ("losses", "fault"),
    [
        ([1.0, 0.9, 0.8, 0.75, 0.72, 0.71, 0.705, 0.7], None),
        ([1.0, 0.999, 1.001, 1.0, 0.998], "loss_flat"),
        ([1.0, 0.8, 0.9, 0.95], "loss_rising"),
        ([1.0, 0.8, 0.9, 0.78, 0.88, 0.77], "loss_unsteady"),
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], "unfinished"),
    ],
)
def test_courses_of_the_loss(losses: list[float], fault: str | None) -> None:
    config = TrainConfig.model_construct(schedule=ScheduleConfig(steps=len(losses)))
    watch = diagnosis.Watch(config)
    told = [
        found.fault
        for step, loss in enumerate(losses, 1)
        for found in watch.see(Validated(step, loss, None, None))
    ]
    assert told == ([fault] if fault else [])


def test_samples_that_are_clips_are_looked_at(base: Path, pictures: Path, tmp_path: Path) -> None:
    clip = films.write_clip(tmp_path / "red.mp4", [films.plain(films.RED, 64, 48)] * 5)
    watch = diagnosis.Watch(tiny.config(base, pictures))
    (found,) = watch.see(Sampled(1, (clip,) * diagnosis.FEWEST_SAMPLES))
    assert found.fault == "colour_cast" and "100% of the samples lean to" in found.message
