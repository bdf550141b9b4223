"""What would mend a run that failed: one change of its settings, told before it is made."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loraloom import config_tree
from loraloom.config import Tree
from loraloom.errors import JobRefused
from loraloom.studio import described, draft, starting
from loraloom.studio.datasets import Datasets
from loraloom.studio.job import Job, Reason, State, Task
from loraloom.studio.jobs import Jobs
from loraloom.studio.plans import Plan, Plans


@dataclass(frozen=True)
class Fix:
    """The same run with something changed."""

    settings: tuple[str, ...]
    """As --set takes them."""
    changes: Mapping[str, list[Any]]
    """Dotted setting -> its old and its new value."""
    costs: tuple[str, ...]
    """What each of them costs beside."""


def fix(job: Job, plans: Plans, *, makes_plan: bool = True) -> Fix | None:
    """What to change; None where no setting is at fault, or nothing there is would be enough.

    For want of memory it takes a plan; without `makes_plan` only one that was made before. Raises
    PlanFailed.
    """
    if job.state is not State.FAILED or job.task is not Task.TRAIN:
        return None
    tree = tomllib.loads(job.settings)
    if job.reason is Reason.NOT_FINITE:
        rated = ["optimiser", *(["text_encoder"] if tree["text_encoder"].get("ratio") else [])]
        return _changed(tree, [f"{n}.learning_rate={tree[n]['learning_rate'] / 2}" for n in rated])
    if job.reason is Reason.MEMORY:
        config = config_tree.validate(tree)
        plan = plans.make(config, less=True) if makes_plan else plans.known(config, less=True)
        return _smaller(tree, plan) if plan else None
    return None


def queue_fixed(jobs: Jobs, datasets: Datasets, plans: Plans, job_id: int) -> tuple[Job, bool]:
    """Queue the run again with its fix, and whether this call has: once, however often it is asked.

    Raises JobRefused where there is no fix, PlanFailed, and as `starting.start`.
    """
    job = jobs.get(job_id)
    found = fix(job, plans)
    if found is None:
        raise JobRefused(
            f"No single change of its settings is known to mend job {job.id}. Change them "
            "yourself: train again with changes."
        )
    tree = _merged(tomllib.loads(job.settings), found.settings)
    draft.refuse_paths(tree, datasets)
    return starting.start(
        jobs, tree, name=job.name, parent=job.id, project=job.project_id, plans=plans,
        key=f"fix {job.id} {' '.join(found.settings)}"[:200],
    )  # fmt: skip


def _smaller(tree: Tree, plan: Plan) -> Fix | None:
    """The first measure that fits and needs less than before: that was too much, whatever the plan
    said of it."""
    for count, measure in enumerate(plan.measures):
        if measure.fits and measure.peak_mib < plan.unchanged.peak_mib:
            taken = plan.measures[1 : count + 1]  # less those whose setting a later one goes beyond
            costs = [one.cost for one in taken if one.settings[-1] in measure.settings]
            return _changed(tree, measure.settings, costs)
    return None


def _changed(tree: Tree, settings: Sequence[str], costs: Iterable[str] = ()) -> Fix:
    changes = described.differences(tree, _merged(tree, settings))
    return Fix(tuple(settings), changes, tuple(costs))


def _merged(tree: Tree, settings: Sequence[str]) -> Tree:
    for text in settings:
        tree = config_tree.merge(tree, config_tree.parse_assignment(text))
    return tree
