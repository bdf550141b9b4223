"""Automatic captions: what is asked for becomes a job, which describes a stored dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loraloom.captions.auto import defaults
from loraloom.captions.auto import order as orders
from loraloom.captions.auto.order import DescribeOrder, Wish
from loraloom.errors import ConfigInvalid, Forbidden
from loraloom.settings import STARTER
from loraloom.studio.bases import refuse_folder
from loraloom.studio.datasets import Datasets
from loraloom.studio.job import ENDED, Job, State, Task
from loraloom.studio.jobs import Jobs, Start
from loraloom.studio.pictures import PRIORITY
from loraloom.studio.rights import Person

_LOOKED_THROUGH = 100


@dataclass(frozen=True)
class Description:
    """A job that describes a dataset, and what it told at its end."""

    job: Job
    order: DescribeOrder
    told: dict[str, Any]

    @property
    def is_going(self) -> bool:
        """It waits or works."""
        return self.job.state not in ENDED


def taggers() -> list[str]:
    """Those known by name."""
    return [STARTER, *defaults.models()]


def start(
    jobs: Jobs, datasets: Datasets, name: str, wish: Wish, start: Start | None = None
) -> tuple[Job, bool]:
    """Queue it, and whether this call has (see `Jobs.add`).

    Raises DatasetUnknown, Forbidden, ConfigInvalid.
    """
    stored = datasets.open_to_change(name)
    _refuse(datasets.person, wish)
    if not stored.working.pictures:
        raise ConfigInvalid(f"{name} has no picture to describe; bring some in first.")
    order = DescribeOrder(dataset=stored.name, **dict(wish))
    return jobs.queue_up(
        Task.DESCRIBE, stored.name, orders.to_toml(order), priority=PRIORITY, start=start,
        project=datasets.belonging(stored.name).project_id,
    )  # fmt: skip


def latest(jobs: Jobs, name: str) -> Description | None:
    """The newest job that describes a dataset."""
    for job in jobs.page(task=Task.DESCRIBE, limit=_LOOKED_THROUGH):
        if job.name == name:
            told = jobs.events(job.id, names=("finished",), newest=True, limit=1)
            done = told[-1].body if told and job.state is State.FINISHED else {}
            return Description(job, orders.parse(job.settings), dict(done))
    return None


def _refuse(person: Person, wish: Wish) -> None:
    """What reads this machine's folders and environment, or reaches out, is for its owners."""
    refuse_folder(person, wish.base)
    if person.is_owner:
        return
    if wish.provider or wish.key_env:
        raise Forbidden("Only owners of the studio may name the address of a vision model.")
    if wish.tagger and wish.tagger not in taggers():
        raise ConfigInvalid(
            f"{wish.tagger[:200]!r} is not possible here: name one of {', '.join(taggers())}."
        )
