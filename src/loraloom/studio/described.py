"""Jobs as programs and pages are told of them."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from loraloom.config import Tree
from loraloom.studio import workers
from loraloom.studio.job import HELD, Job, State, Task


def as_tree(job: Job) -> Tree:
    """All that programs are told of a job; times in ISO 8601, UTC."""
    adapter = job.run_folder / "adapter.safetensors"
    has_adapter = job.state is State.FINISHED and job.task is Task.TRAIN
    return {
        "id": job.id,
        "task": job.task,
        "name": job.name,
        "base": tomllib.loads(job.settings)["base"],
        "state": job.state,
        "request": job.request,
        "priority": job.priority,
        "parent": job.parent_id,
        "step": job.step,
        "steps": job.steps,
        "attempt": job.attempt,
        "worker": workers.title(job.worker) if job.state in HELD else None,
        "reason": job.reason or None,
        "message": job.message or None,
        "folder": job.run_folder,
        "adapter": adapter if has_adapter else None,
        "created": iso(job.created_at),
        "started": iso(job.started_at),
        "ended": iso(job.ended_at),
        "owner": job.owner_id,
        "visibility": job.visibility,
        "project": job.project_id,
        "trashed": iso(job.trashed_at or None),
        "gone": job.is_gone,
    }


def changed(old: Job | None, new: Job) -> dict[str, list[Any]]:
    """Dotted setting -> its old and its new value, for those that differ; {} without an old job."""
    if old is None:
        return {}
    return differences(*(tomllib.loads(job.settings) for job in (old, new)))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Dotted setting -> its old and its new value, for those that differ."""
    before, after = (dict(_leaves(tree)) for tree in (old, new))
    names = sorted(before.keys() | after.keys())
    return {n: [before.get(n), after.get(n)] for n in names if before.get(n) != after.get(n)}


FOLLOWING = {
    "schedule.warmup_steps": "schedule.steps",
    "validation.every_steps": "schedule.steps",
    "samples.every_steps": "schedule.steps",
    "samples.prompts": "trigger",
    "adapter.alpha": "adapter.rank",
    "prior.class_words": "trigger",
    "prior.images": "data.folder",
}
"""Settings that the recipe takes from others."""


def deliberate(differing: Mapping[str, list[Any]]) -> list[str]:
    """The settings of a difference without those that only follow another of it, or say what it is
    called."""
    learnt = (name for name in differing if not name.startswith("about."))
    return [name for name in learnt if FOLLOWING.get(name) not in differing]


def iso(seconds: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601, UTC."""
    if seconds is None:
        return None
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
