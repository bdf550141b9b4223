"""What users ask of jobs. The database alone holds their state; every change is one transaction."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, select

from loraloom.config import TrainConfig
from loraloom.config_tree import to_toml
from loraloom.errors import JobRefused, JobUnknown
from loraloom.studio.database import Database
from loraloom.studio.job import HELD, Job, Reason, Request, State, Task
from loraloom.studio.rows import as_job, change, locked, note, put
from loraloom.studio.tables import events, jobs


@dataclass(frozen=True)
class JobEvent:
    """What happened in an attempt of a job: a change of state, or what its trainer told."""

    id: int
    job_id: int
    attempt: int
    at: float
    body: Mapping[str, Any]


class Jobs:
    """All jobs of an installation, as users see and steer them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, config: TrainConfig, name: str, *, priority: int = 0, parent: int | None = None
    ) -> Job:
        """Queue a run of complete settings; higher priorities go first, then the older job."""
        if parent is not None:
            self.get(parent)
        values: dict[str, object] = {
            "name": name,
            "token": secrets.token_hex(4),
            "settings": to_toml(config),
            "parent_id": parent,
            "priority": priority,
            "state": State.QUEUED,
            "request": Request.NONE,
            "worker": "",
            "steps": config.schedule.steps,
            "reason": Reason.NONE,
            "message": "",
            "created_at": time.time(),
            **dict.fromkeys(("attempt", "beat", "losses", "step", "saved_step"), 0),
        }
        with self._database.writing() as connection:
            number = connection.execute(insert(jobs).values(**values)).inserted_primary_key
            assert number is not None
            told = {"event": "state", "state": State.QUEUED, "why": "added"}
            note(connection, number[0], 0, told)
            return locked(connection, number[0])

    def get(self, job_id: int) -> Job:
        """Raises JobUnknown."""
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
        if row is None:
            raise JobUnknown(
                f"There is no job {job_id}; `loraloom jobs list` shows those there are."
            )
        return as_job(row)

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(jobs).order_by(jobs.c.id.desc())).all()
        return [as_job(row) for row in rows]

    def page(
        self, *, before: int | None = None, limit: int = 50, task: Task | None = Task.TRAIN
    ) -> list[Job]:
        """The newest jobs, or the newest of those older than the one numbered `before`.

        Of one task; None: of all.
        """
        found = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if task is not None:
            found = found.where(jobs.c.task == task)
        if before is not None:
            found = found.where(jobs.c.id < before)
        with self._database.reading() as connection:
            return [as_job(row) for row in connection.execute(found)]

    def events(
        self, job_id: int | None = None, *, after: int = 0, limit: int = 1000
    ) -> list[JobEvent]:
        """What happened to a job, or to any, in order, from behind the event numbered `after`."""
        found = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if job_id is not None:
            found = found.where(events.c.job_id == job_id)
        with self._database.reading() as connection:
            rows = connection.execute(found).all()
        return [
            JobEvent(row.id, row.job_id, row.attempt, row.at, json.loads(row.body)) for row in rows
        ]

    def last_event(self) -> int:
        """The number of the newest event; 0 before the first."""
        with self._database.reading() as connection:
            return connection.execute(select(func.max(events.c.id))).scalar() or 0

    def cancel(self, job_id: int) -> Job:
        """Give a job up: at once where it waits, between steps where it runs. Again: no change.

        Raises JobRefused where it has ended otherwise.
        """
        with self._database.writing() as connection:
            job = locked(connection, job_id)
            if job.state in HELD:
                _ask(connection, job, Request.CANCEL)
            elif job.state in (State.QUEUED, State.PAUSED):
                change(connection, job, State.CANCELLED, "asked", request=Request.NONE)
            elif job.state is not State.CANCELLED:
                raise JobRefused(f"Job {job.id} has {_ended(job)}; there is nothing to cancel.")
            return locked(connection, job_id)

    def pause(self, job_id: int) -> Job:
        """Let a job wait until it is resumed; one that runs saves first. Raises JobRefused."""
        with self._database.writing() as connection:
            job = locked(connection, job_id)
            if job.state in HELD:
                _refuse_when_cancelled(job)
                _ask(connection, job, Request.PAUSE)
            elif job.state is State.QUEUED:
                change(connection, job, State.PAUSED, "asked")
            elif job.state is not State.PAUSED:
                raise JobRefused(f"Job {job.id} has {_ended(job)}; there is nothing to pause.")
            return locked(connection, job_id)

    def stop(self, job_id: int) -> Job:
        """End a running job after the step at hand and keep its adapter. Raises JobRefused."""
        with self._database.writing() as connection:
            job = locked(connection, job_id)
            if job.state in (State.QUEUED, State.PAUSED):
                raise JobRefused(
                    f"Job {job.id} is {job.state}: only a running job can be stopped with its "
                    "adapter kept. Let it run on first, or cancel it."
                )
            if job.state in HELD:
                _refuse_when_cancelled(job)
                _ask(connection, job, Request.STOP)
            elif job.state is not State.FINISHED:
                raise JobRefused(f"Job {job.id} has {_ended(job)}; there is nothing to stop.")
            return locked(connection, job_id)

    def resume(self, job_id: int) -> Job:
        """Take up a paused or failed job where it was; take back a pause. Raises JobRefused."""
        with self._database.writing() as connection:
            job = locked(connection, job_id)
            if job.state in (State.PAUSED, State.FAILED):
                change(
                    connection, job, State.QUEUED, "resumed",
                    losses=0, reason=Reason.NONE, message="", ended_at=None, request=Request.NONE,
                )  # fmt: skip
            elif job.state in HELD and job.request is Request.PAUSE:
                _ask(connection, job, Request.NONE)
            elif job.state in (State.FINISHED, State.CANCELLED):
                raise JobRefused(
                    f"Job {job.id} has {_ended(job)} and cannot go on; `loraloom jobs retry "
                    f"{job.id}` queues a new one with its settings."
                )
            elif job.request is Request.CANCEL:
                _refuse_when_cancelled(job)
            return locked(connection, job_id)


def _ask(connection: Any, job: Job, request: Request) -> None:
    if job.request is not request:
        put(connection, job, request=request)
        asked = {"event": "request", "request": request or "resume"}
        note(connection, job.id, job.attempt, asked)


def _refuse_when_cancelled(job: Job) -> None:
    if job.request is Request.CANCEL:
        raise JobRefused(f"Job {job.id} is about to be cancelled, which cannot be taken back.")


def _ended(job: Job) -> str:
    return {State.CANCELLED: "been cancelled"}.get(job.state, str(job.state))
