"""The course of a run as columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from loraloom.studio.jobs import Jobs

MOST_POINTS = 2000
_ALL = 10**7
_NAMES = ("started", "step", "validated", "sampled")


class Curves(BaseModel):
    """Columns; of each number that goes with a step, one a point."""

    steps: list[int]
    loss: list[float]
    """Of several steps that make one point, the mean."""
    learning_rate: list[float]
    validated: list[int]
    """Steps at which the loss was measured with fixed noise."""
    train_loss: list[float]
    held_out_loss: list[float | None]
    sampled: list[int]
    last: int
    """The number of the newest event that counts here."""


def curves(jobs: Jobs, job_id: int, most: int = MOST_POINTS) -> Curves:
    """The course of a job over all its attempts; what an attempt repeats counts once."""
    found = jobs.events(job_id, names=_NAMES, limit=_ALL)
    steps: dict[int, Mapping[str, Any]] = {}
    measured: dict[int, Mapping[str, Any]] = {}
    sampled: set[int] = set()
    for event in found:
        match event.body:
            case {"event": "started", "first_step": int(first)} if first <= max(steps, default=0):
                steps = {step: told for step, told in steps.items() if step < first}
                measured = {step: told for step, told in measured.items() if step < first}
            case {"event": "step", "step": int(step)}:
                steps[step] = event.body
            case {"event": "validated", "step": int(step)}:
                measured[step] = event.body
            case {"event": "sampled", "step": int(step)}:
                sampled.add(step)
    told = [steps[step] for step in sorted(steps)]
    size = -(-len(told) // most) or 1
    groups = [told[first : first + size] for first in range(0, len(told), size)]
    return Curves(
        steps=[group[-1]["step"] for group in groups],
        loss=[sum(one["loss"] for one in group) / len(group) for group in groups],
        learning_rate=[group[-1]["learning_rate"] for group in groups],
        validated=sorted(measured),
        train_loss=[measured[step]["train_loss"] for step in sorted(measured)],
        held_out_loss=[measured[step]["held_out_loss"] for step in sorted(measured)],
        sampled=sorted(sampled),
        last=found[-1].id if found else 0,
    )
