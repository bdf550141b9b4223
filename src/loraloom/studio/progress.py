"""How far a run is and what it has left, from its events and its folder."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from loraloom.studio.job import HELD, Job, State
from loraloom.studio.jobs import Jobs
from loraloom.studio.run_files import kept_adapters

_TOLD = ("stage", "started", "planned", "diagnosed", "warned", "validated", "sampled", "saved",
         "finished")  # fmt: skip
_MOST = 20_000
_RECENT_STEPS = 40
STAGES = ("waiting", "preparing", "training", "sampling", "saving", "done")
"""In the order of a run; sampling and saving come in between as well."""
Body = Mapping[str, Any]


@dataclass(frozen=True)
class Samples:
    """Pictures that were drawn after a step, in the order of the prompts."""

    step: int
    files: tuple[str, ...]
    """Below the run's folder."""

    def shown(self, place: int) -> str:
        """The picture of a prompt; of a clip its first frame; empty where there is none."""
        if place >= len(self.files):
            return ""
        return str(PurePath(self.files[place]).with_suffix(".png"))


@dataclass(frozen=True)
class AdapterFile:
    """An adapter that can be had."""

    file: str
    """Below the run's folder."""
    step: int | None
    """None: of the end."""
    bytes: int
    is_best: bool = False
    average: bool = False


@dataclass(frozen=True)
class Progress:
    """All that a page shows of a run beside its settings."""

    stage: str
    """One of STAGES; of a run that ended early the one that it was in."""
    work: str
    """While preparing: latents, captions, prior, masks, or loading."""
    done: int
    total: int
    seconds_a_step: float | None
    left_s: float | None
    """Until its last step; None where nobody can tell."""
    started: Body | None
    planned: Body | None
    finished: Body | None
    diagnosed: tuple[Body, ...]
    warned: tuple[str, ...]
    validated: tuple[Body, ...]
    samples: tuple[Samples, ...]
    adapters: tuple[AdapterFile, ...]


def progress(jobs: Jobs, job: Job) -> Progress:
    """Of one job, now."""
    told = jobs.events(job.id, names=_TOLD, limit=_MOST, newest=True)
    each = pace(jobs, job)
    by_name: dict[str, list[Body]] = {}
    for event in told:
        by_name.setdefault(str(event.body["event"]), []).append(event.body)
    own = [e for e in told if e.attempt == job.attempt]
    newest = own[-1].body if own else {}
    planned = _last(by_name, "planned")
    finished = _last(by_name, "finished") if job.state is State.FINISHED else None
    stage, work = _stage(job, newest)
    counted = (
        newest if newest.get("event") == "stage" and stage in ("preparing", "sampling") else {}
    )
    left = _left(job, each)
    if left is None and job.state in (State.QUEUED, State.PREPARING) and planned:
        left = planned["minutes"] * 60 * (1 - job.step / max(job.steps, 1))
    return Progress(
        stage, work, int(counted.get("done", job.step)), int(counted.get("total", job.steps)),
        each, left, _last(by_name, "started"), planned, finished,
        tuple({body["fault"]: body for body in by_name.get("diagnosed", [])}.values()),
        tuple(dict.fromkeys(body["message"] for body in by_name.get("warned", []))),
        tuple({body["step"]: body for body in by_name.get("validated", [])}.values()),
        () if job.is_gone else _samples(by_name.get("sampled", [])),
        adapters(job, finished),
    )  # fmt: skip


def _samples(told: list[Body]) -> tuple[Samples, ...]:
    paths = {body["step"]: body["paths"] for body in told}
    return tuple(
        Samples(step, tuple(f"samples/{PurePath(path).name}" for path in paths[step]))
        for step in sorted(paths)
    )


def time_left(jobs: Jobs, job: Job) -> float | None:
    """Seconds until the last step of a running job; None where nobody can tell yet."""
    return _left(job, pace(jobs, job))


def gpu_of(jobs: Jobs, job: Job) -> str:
    """The GPU that a running job is on, where its worker has several; else ""."""
    told = jobs.events(job.id, names=("placed",), limit=1, newest=True)
    is_now = job.state in HELD and told and told[0].attempt == job.attempt
    return str(told[0].body["gpu"]) if is_now else ""


def adapters(job: Job, finished: Body | None) -> tuple[AdapterFile, ...]:
    """The files of a run's adapter, those of its end first, then by step."""
    ends = sorted(job.run_folder.glob("adapter*.safetensors"), key=lambda path: len(path.name))
    best = finished["best_step"] if finished else None
    steps = [
        AdapterFile(f"adapters/{path.name}", step, path.stat().st_size, step == best, average)
        for (step, average), path in kept_adapters(job.run_folder).items()
    ]
    return (
        *(AdapterFile(path.name, None, path.stat().st_size, average="ema" in path.stem)
          for path in ends),
        *steps,
    )  # fmt: skip


def _stage(job: Job, newest: Body) -> tuple[str, str]:
    if job.state in (State.QUEUED, State.PAUSED) or not job.attempt:
        return "waiting", ""
    if job.state is State.FINISHED:
        return "done", ""
    sampling = newest.get("event") == "stage" and newest["name"] == "samples"
    if sampling and newest["done"] < newest["total"]:
        return "sampling", ""
    if job.state is State.PREPARING or not job.step:
        return "preparing", str(newest["name"]) if newest.get("event") == "stage" else "loading"
    return ("saving", "") if job.step >= job.steps else ("training", "")


def pace(jobs: Jobs, job: Job) -> float | None:
    """Seconds of its last steps, the median; None before the first of this attempt."""
    recent = jobs.events(job.id, names=("step",), limit=_RECENT_STEPS, newest=True)
    seconds = [e.body["seconds"] for e in recent if e.attempt == job.attempt]
    return statistics.median(seconds) if seconds else None


def _left(job: Job, each: float | None) -> float | None:
    return (job.steps - job.step) * each if job.state in HELD and each is not None else None


def _last(by_name: Mapping[str, list[Body]], name: str) -> Body | None:
    found = by_name.get(name)
    return found[-1] if found else None
