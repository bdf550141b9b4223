"""What finished runs took here: better than an estimate, where there was one of such settings."""

from __future__ import annotations

import statistics
import tomllib
from dataclasses import dataclass
from functools import lru_cache

from loraloom.config import TrainConfig
from loraloom.studio import progress
from loraloom.studio.job import Job, State
from loraloom.studio.jobs import Jobs

LATEST = 100
"""Finished runs that are looked at."""
ENOUGH = 5
"""Runs of one cost that are asked what they took."""


@dataclass(frozen=True)
class Measured:
    """What the newest finished runs of settings that cost the same took."""

    runs: int
    seconds_a_step: float
    """The median of the steps alone: samples and validation come beside."""
    peak_mib: int
    """The most that one of them held at once."""


def measured(jobs: Jobs, config: TrainConfig, device: str) -> Measured | None:
    """On such a device, "cpu" or "cuda"; None where no such run has finished here yet."""
    wanted = _cost(config)
    alike = [
        job
        for job in jobs.page(states=[State.FINISHED], limit=LATEST)
        if _cost_of(job.settings) == wanted
    ]
    told = [(progress.pace(jobs, job), *_told(jobs, job)) for job in alike[:ENOUGH]]
    took = [(each, peak) for each, on, peak in told if each and on == device]
    if not took:
        return None
    return Measured(len(took), statistics.median(e for e, _ in took), max(p for _, p in took))


def _told(jobs: Jobs, job: Job) -> tuple[str, int]:
    """The device that a run was on, and its memory in MiB."""
    events = [e.body for e in jobs.events(job.id, names=["started", "finished"], limit=100)]
    devices = [str(body["device"]) for body in events if body["event"] == "started"]
    peaks = [int(body.get("peak_mib", 0)) for body in events if body["event"] == "finished"]
    return (devices or [""])[-1], max(peaks, default=0)


@lru_cache(maxsize=4 * LATEST)
def _cost_of(settings: str) -> str:
    """Of settings in TOML; "" where this version does not know them."""
    try:
        return _cost(TrainConfig.model_validate(tomllib.loads(settings)))
    except ValueError:
        return ""


def _cost(config: TrainConfig) -> str:
    """What the time of a step and the memory depend on."""
    adapter = config.adapter
    return repr(
        (
            config.base, config.expert, config.precision, config.quantisation, config.shard_base,
            config.batch_size, config.accumulation, config.gradient_checkpointing,
            config.data.resolution_px, config.data.frames, config.data.mask_prior,
            adapter.type, adapter.rank, adapter.targets, sorted(adapter.ranks.items()),
            adapter.block_size, adapter.factor, adapter.init, adapter.dropout > 0,
            config.optimiser.name, config.text_encoder.ratio, config.ema_decay > 0,
            bool(config.samples.prompts and config.samples.every_steps),
        )
    )  # fmt: skip
