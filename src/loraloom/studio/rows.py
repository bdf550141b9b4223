"""Reading and changing the row of one job, within a transaction."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from loraloom.errors import JobUnknown
from loraloom.studio.job import CHANGES, ENDED, Job, Reason, Request, State, Task
from loraloom.studio.rights import Person, Visibility, may
from loraloom.studio.tables import events, jobs, projects

_KINDS = {
    "state": State,
    "request": Request,
    "reason": Reason,
    "visibility": Visibility,
    "task": Task,
}


def as_job(row: Row[Any]) -> Job:
    """What a row of the table says."""
    columns = row._mapping
    values = {name: columns[name] for name in Job.__dataclass_fields__}
    for name, kind in _KINDS.items():
        values[name] = kind(values[name])
    return Job(**values)


def locked(connection: Connection, job_id: int) -> Job:
    """The job, which nobody else changes before the transaction ends. Raises JobUnknown."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
    if row is None:
        raise JobUnknown(f"There is no job {job_id}; `loraloom jobs list` shows those there are.")
    return as_job(row)


def added(connection: Connection, **values: object) -> Job:
    """A new job, queued; `values` are its task, name, settings, steps, priority and such."""
    row: dict[str, object] = {
        "token": secrets.token_hex(4),
        "parent_id": None,
        "priority": 0,
        "state": State.QUEUED,
        "request": Request.NONE,
        "worker": "",
        "owner_id": None,
        "visibility": Visibility.PRIVATE,
        "reason": Reason.NONE,
        "message": "",
        "created_at": time.time(),
        **dict.fromkeys(("attempt", "beat", "losses", "step", "saved_step"), 0),
        **values,
    }
    number = connection.execute(insert(jobs).values(**row)).inserted_primary_key
    assert number is not None
    note(connection, number[0], 0, {"event": "state", "state": State.QUEUED, "why": "added"})
    return locked(connection, number[0])


def joined(connection: Connection, person: Person, project: int | None) -> int | None:
    """The project, where the person may put things into it: else none."""
    found = select(projects).where(projects.c.id == project, projects.c.trashed_at.is_(None))
    row = connection.execute(found).first() if project is not None else None
    return project if row and may(person, "change", row.owner_id, row.visibility) else None


def change(connection: Connection, job: Job, to: State, why: str, **values: object) -> None:
    """Bring a locked job into another state, and note it among its events."""
    assert to in CHANGES[job.state], f"{job.state} -> {to} is no change that is allowed"
    if to in ENDED:
        values["ended_at"] = time.time()
    put(connection, job, state=to, **values)
    attempt = values.get("attempt", job.attempt)
    assert isinstance(attempt, int)
    told = {"event": "state", "state": to, "was": job.state, "why": why}
    note(connection, job.id, attempt, told)


def put(connection: Connection, job: Job, **values: object) -> None:
    """Set columns of a locked job."""
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(**values))


def note(connection: Connection, job_id: int, attempt: int, *happenings: Mapping[str, Any]) -> None:
    """Append to the job's events; `event` names each."""
    if happenings:
        rows = [
            {
                "job_id": job_id,
                "attempt": attempt,
                "at": time.time(),
                "name": str(happening["event"])[:32],
                "body": json.dumps(happening),
            }
            for happening in happenings
        ]
        connection.execute(insert(events), rows)
