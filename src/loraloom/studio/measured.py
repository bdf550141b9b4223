"""What finished runs took here: better than an estimate, where there was one of such settings."""

from __future__ import annotations

import statistics
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from loraloom.config import TrainConfig
from loraloom.studio.job import Job, State
from loraloom.studio.jobs import Jobs

LATEST = 100
"""Finished runs that are looked at."""


@dataclass(frozen=True)
class Measured:
    """What the finished runs of settings that cost the same took."""

    runs: int
    seconds_a_step: float
    """The median; with samples and validation, without preparation."""
    peak_mib: int
    """The most that one of them held at once."""


def measured(jobs: Jobs, config: TrainConfig) -> Measured | None:
    """None where no such run has finished here yet."""
    wanted = _cost(config)
    alike = [
        job
        for job in jobs.page(states=[State.FINISHED], limit=LATEST)
        if _cost_of(job.settings) == wanted
    ]
    ends = [end for job in alike if (end := _end(jobs, job)) and end["step"] and end["seconds"]]
    if not ends:
        return None
    each = statistics.median(end["seconds"] / end["step"] for end in ends)
    return Measured(len(ends), each, max(end.get("peak_mib", 0) for end in ends))


def _end(jobs: Jobs, job: Job) -> dict[str, Any] | None:
    """What a run told at its end; the seconds are those of all its attempts."""
    events = jobs.events(job.id, names=["finished"], limit=1, newest=True)
    return dict(events[-1].body) if events else None


@lru_cache(maxsize=4 * LATEST)
def _cost_of(settings: str) -> str:
    """Of settings in TOML; "" where this version does not know them."""
    try:
        return _cost(TrainConfig.model_validate(tomllib.loads(settings)))
    except ValueError:
        return ""


def _cost(config: TrainConfig) -> str:
    """What the time of a step and the memory depend on."""
    adapter, samples = config.adapter, config.samples
    return repr(
        (
            config.base, config.expert, config.precision, config.quantisation, config.shard_base,
            config.batch_size, config.accumulation, config.gradient_checkpointing,
            config.data.resolution_px, config.data.frames, config.data.mask_prior,
            adapter.type, adapter.rank, adapter.targets, sorted(adapter.ranks.items()),
            config.optimiser.name, config.text_encoder.ratio, config.ema_decay > 0,
            # How often is a share of the steps.
            config.validation.every_steps > 0, samples.every_steps > 0, len(samples.prompts),
            samples.steps, samples.guidance > 1, samples.frames,
        )
    )  # fmt: skip
