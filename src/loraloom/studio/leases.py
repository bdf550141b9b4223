"""What workers write of jobs: each claim is a lease, and only its holder is heard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from loraloom.studio import workers
from loraloom.studio.database import Database
from loraloom.studio.job import HELD, Job, Lease, Reason, Request, State, Wish
from loraloom.studio.rows import as_job, change, locked, note, put
from loraloom.studio.tables import events, jobs

ATTEMPTS = {Reason.BUG: 3, Reason.LOST: 10}
"""Failures that the same settings may survive when tried again -> how many such attempts in a row
may end without getting as far as a further checkpoint. What was ended from outside is most likely
not the job's fault."""


class LeaseLost(Exception):
    """The job has ended, or another worker has it by now: this one must let go of it."""


class Leases:
    """The jobs of an installation, as workers take, keep and end them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, worker: str) -> Job | None:
        """Take the next job of the queue, if there is one that nobody else takes just now."""
        following = (
            select(jobs)
            .where(jobs.c.state == State.QUEUED)
            .order_by(jobs.c.priority.desc(), jobs.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._database.writing() as connection:
            row = connection.execute(following).first()
            if row is None:
                return None
            job = as_job(row)
            change(
                connection, job, State.PREPARING, f"claimed by {worker}",
                attempt=job.attempt + 1, beat=0, worker=worker,
                started_at=job.started_at or time.time(),
            )  # fmt: skip
            return locked(connection, job.id)

    def beat(self, lease: Lease, happenings: Sequence[Mapping[str, Any]] = ()) -> Request:
        """Give a sign of life with what the trainer told since; what the user wants comes back.

        Raises LeaseLost.
        """
        with self._database.writing() as connection:
            job = _held(connection, lease)
            values: dict[str, object] = {"beat": job.beat + 1}
            for happening in happenings:
                match happening:
                    case {"event": "started", "steps": int(steps)}:
                        values["steps"] = steps
                    case {"event": "step" | "finished", "step": int(step)}:
                        values["step"] = step
                    case {"event": "saved", "step": int(step)} if step > job.saved_step:
                        values |= {"saved_step": step, "losses": 0}
            put(connection, job, **values)
            if job.state is State.PREPARING and "started" in {h["event"] for h in happenings}:
                change(connection, job, State.TRAINING, "loaded")
            note(connection, job.id, job.attempt, *happenings)
            return job.request

    def before(self, lease: Lease) -> int:
        """The number of the job's newest event before an attempt."""
        found = (
            select(events.c.id)
            .where(events.c.job_id == lease.job_id, events.c.attempt < lease.attempt)
            .order_by(events.c.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.execute(found).scalar() or 0

    def wishes(self, lease: Lease, after: int) -> tuple[int, list[Wish]]:
        """What was wished of an attempt since the event of that number, and the newest's number."""
        found = (
            select(events.c.id, events.c.name, events.c.body)
            .where(events.c.job_id == lease.job_id, events.c.id > after)
            .where(events.c.attempt == lease.attempt)
            .order_by(events.c.id)
        )
        with self._database.reading() as connection:
            rows = connection.execute(found).all()
        wished = [Wish(json.loads(row.body)["wish"]) for row in rows if row.name == "wish"]
        return max((row.id for row in rows), default=after), wished

    def finish(self, lease: Lease) -> None:
        """The adapter is there. Again: no change. Raises LeaseLost."""
        with self._database.writing() as connection:
            if not _already(connection, lease, State.FINISHED):
                job = _held(connection, lease)
                change(connection, job, State.FINISHED, "done", request=Request.NONE)

    def fail(self, lease: Lease, reason: Reason, message: str) -> None:
        """The trainer ended without an adapter. Again: no change. Raises LeaseLost.

        What may pass goes back to the queue, a few times.
        """
        with self._database.writing() as connection:
            if _already(connection, lease, State.FAILED):
                return
            job = _held(connection, lease)
            if reason in ATTEMPTS:
                _lose(connection, job, reason, message)
            else:
                _fail(connection, job, reason, message)

    def release(self, lease: Lease) -> None:
        """The trainer saved and stopped: paused or cancelled if that was asked, else queued again.

        Raises LeaseLost.
        """
        with self._database.writing() as connection:
            job = _held(connection, lease)
            if not _as_asked(connection, job):
                change(connection, job, State.QUEUED, "the worker stopped")

    def lose(self, lease: Lease, beat: int) -> bool:
        """The holder gave no sign of life since `beat`; whether that still holds."""
        with self._database.writing() as connection:
            job = locked(connection, lease.job_id)
            if job.state not in HELD or (job.attempt, job.beat) != (lease.attempt, beat):
                return False
            _lose(
                connection,
                job,
                Reason.LOST,
                f"{workers.title(job.worker)} gave no sign of life any more.",
            )
            return True

    def any_left(self) -> bool:
        """Whether a job is queued, or a worker has one."""
        left = select(jobs.c.id).where(jobs.c.state.in_(HELD | {State.QUEUED})).limit(1)
        with self._database.reading() as connection:
            return connection.execute(left).first() is not None

    def held(self) -> list[Job]:
        """Jobs that workers have."""
        with self._database.reading() as connection:
            found = select(jobs).where(jobs.c.state.in_(HELD)).order_by(jobs.c.id)
            return [as_job(row) for row in connection.execute(found)]


class Reaper:
    """Finds leases whose holder has died, by its own clock alone.

    Clocks of other machines, and this one's being set, do not matter: a lease is lost when its
    beat has not changed over `lost_s` of this reaper's looking. Where it did not look for long, it
    was itself frozen, and begins anew. A worker of this machine whose process has ended need not be
    waited for.
    """

    def __init__(
        self, leases: Leases, lost_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._leases = leases
        self._lost_s = lost_s
        self._now = now
        self._seen: dict[tuple[Lease, int], float] = {}
        self._looked = now()

    def look(self) -> list[int]:
        """Give up what is lost; the numbers of those jobs."""
        now = self._now()
        if now - self._looked > self._lost_s / 2:
            self._seen.clear()
        self._looked = now
        held = {(job.lease, job.beat): job.worker for job in self._leases.held()}
        self._seen = {sign: self._seen.get(sign, now) for sign in held}
        late = [
            sign for sign, since in self._seen.items()
            if now - since > self._lost_s or workers.is_gone(held[sign])
        ]  # fmt: skip
        return [lease.job_id for lease, beat in late if self._leases.lose(lease, beat)]


def _held(connection: Connection, lease: Lease) -> Job:
    job = locked(connection, lease.job_id)
    if job.attempt != lease.attempt or job.state not in HELD:
        raise LeaseLost(f"attempt {lease.attempt} of job {lease.job_id} does not hold it any more")
    return job


def _already(connection: Connection, lease: Lease, state: State) -> bool:
    job = locked(connection, lease.job_id)
    return (job.attempt, job.state) == (lease.attempt, state)


def _lose(connection: Connection, job: Job, reason: Reason, message: str) -> None:
    if _as_asked(connection, job):
        return
    if job.losses + 1 >= ATTEMPTS[reason]:
        _fail(connection, job, reason, message)
    else:
        change(connection, job, State.QUEUED, f"{reason}: {message}", losses=job.losses + 1)


def _fail(connection: Connection, job: Job, reason: Reason, message: str) -> None:
    change(
        connection, job, State.FAILED, f"{reason}: {message}",
        reason=reason, message=message, request=Request.NONE,
    )  # fmt: skip


def _as_asked(connection: Connection, job: Job) -> bool:
    """Whether the user wanted the job to end or wait, and so it did."""
    wanted = {Request.CANCEL: State.CANCELLED, Request.PAUSE: State.PAUSED}.get(job.request)
    if wanted is not None:
        change(connection, job, wanted, "asked", request=Request.NONE)
    return wanted is not None
