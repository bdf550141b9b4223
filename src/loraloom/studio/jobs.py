"""What users ask of jobs. The database alone holds their state; every change is one transaction."""

from __future__ import annotations

import hashlib
import json
import time
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, or_, select, update

from loraloom.config import TrainConfig
from loraloom.config_tree import to_toml, toml_line
from loraloom.errors import DatabaseUnusable, JobRefused, JobUnknown
from loraloom.studio.database import Database
from loraloom.studio.job import ENDED, HELD, Job, Reason, Request, State, Task, Wish
from loraloom.studio.named import split_words
from loraloom.studio.rights import ALONE, Person, Visibility, check, readable
from loraloom.studio.rows import added, as_job, change, joined, locked, note, put
from loraloom.studio.tables import events, jobs, pictures

_QUEUE = (jobs.c.priority.desc(), jobs.c.id)
"""The order in which workers take what is queued."""


@dataclass(frozen=True)
class Start:
    """A start that may be asked for again, by a second click or after a lost answer."""

    key: str
    """Chosen by whoever asks, up to 200 characters."""
    body: str
    """SHA-256 of what is asked for."""

    @classmethod
    def of(cls, key: str | None, asked: object) -> Start | None:
        """With `asked` as JSON has it; None without a key."""
        if not key:
            return None
        told = json.dumps(asked, sort_keys=True, default=str)
        return cls(key, hashlib.sha256(told.encode()).hexdigest())


@dataclass(frozen=True)
class JobEvent:
    """What happened in an attempt of a job: a change of state, or what its trainer told."""

    id: int
    job_id: int
    attempt: int
    at: float
    body: Mapping[str, Any]


@dataclass(frozen=True)
class WorkerSeen:
    """A worker that has had a job."""

    name: str
    last_at: float
    """When the newest of its jobs was first started."""
    count: int
    """Of jobs that it was the last to have."""
    held: int
    """Of those that it has now."""


class Jobs:
    """All jobs of an installation, as users see and steer them."""

    def __init__(self, database: Database, person: Person = ALONE) -> None:
        """As `person` sees them: others' private jobs are not there, new ones are theirs."""
        self._database = database
        self._person = person
        self._seen = readable(person, jobs.c.owner_id, jobs.c.visibility)

    def seen_by(self, person: Person) -> Jobs:
        """The same jobs as somebody sees and may change them."""
        return Jobs(self._database, person)

    def add(
        self,
        config: TrainConfig,
        name: str,
        *,
        priority: int = 0,
        parent: int | None = None,
        project: int | None = None,
        start: Start | None = None,
    ) -> Job:
        """Queue a run of complete settings; higher priorities go first, then the older job.

        With a `start` that was made already its job comes back, and none is added. Raises
        JobRefused where something else was asked for by its key, and Forbidden.
        """
        settings, steps = to_toml(config), config.schedule.steps
        return self.queue_up(
            Task.TRAIN, name, settings, steps=steps, priority=priority, parent=parent,
            project=project, start=start,
        )[0]  # fmt: skip

    def queue_up(
        self,
        task: Task,
        name: str,
        settings: str,
        *,
        steps: int = 0,
        priority: int = 0,
        parent: int | None = None,
        project: int | None = None,
        start: Start | None = None,
        also: Callable[[Connection, Job], None] = lambda connection, job: None,
    ) -> tuple[Job, bool]:
        """Queue a job of any task, and whether this call has: not where it was made by the same
        `start`. It joins a `project` that the person may change. `also` is done in the same
        transaction. Raises as `add`.
        """
        check(self._person, "add")
        start = self._own(start)
        if parent is not None:
            self.get(parent)
        try:
            with self._database.writing() as connection:
                if start is not None and (found := _started(connection, start)):
                    return found, False
                job = added(
                    connection, task=task, name=name, settings=settings, steps=steps,
                    priority=priority, parent_id=parent,
                    project_id=joined(connection, self._person, project),
                    owner_id=self._person.id,
                    start_key=start and start.key, start_body=start and start.body,
                )  # fmt: skip
                also(connection, job)
                return job, True
        except DatabaseUnusable:  # another request with the same key was quicker
            if start is not None and (found := self._started(start)):
                return found, False
            raise

    def started(self, start: Start) -> Job | None:
        """The job of a start that was made already. Raises JobRefused, as `add`."""
        own = self._own(start)
        return None if own is None else self._started(own)

    def _started(self, start: Start) -> Job | None:
        with self._database.reading() as connection:
            return _started(connection, start)

    def _own(self, start: Start | None) -> Start | None:
        """Keys of two people never meet."""
        if start is None or self._person.id is None:
            return start
        key = hashlib.sha256(f"{self._person.id} {start.key}".encode()).hexdigest()
        return replace(start, key=key)

    def get(self, job_id: int) -> Job:
        """Raises JobUnknown."""
        with self._database.reading() as connection:
            row = connection.execute(self._one(job_id)).first()
        if row is None:
            raise _unknown(job_id)
        return as_job(row)

    def all(self, *, trashed: bool = False) -> list[Job]:
        """Every job, the newest first; those in the bin apart."""
        with self._database.reading() as connection:
            found = select(jobs).where(self._seen, _in_bin(trashed)).order_by(jobs.c.id.desc())
            rows = connection.execute(found).all()
        return [as_job(row) for row in rows]

    def page(
        self,
        *,
        before: int | None = None,
        limit: int = 50,
        states: Collection[State] = (),
        parent: int | None = None,
        project: int | None = None,
        task: Task | None = Task.TRAIN,
        trashed: bool = False,
        words: str = "",
    ) -> list[Job]:
        """The newest jobs, or the newest of those older than the one numbered `before`.

        `states`: in one of these only; `parent`: of this job and those that were made from it;
        `project`: of this one; `task`: of one task, None of all; `trashed`: those in the bin;
        `words`: whose name holds each of these; "#12" is the job of that number.
        """
        found = select(jobs).where(self._seen, _in_bin(trashed), *map(_holds, split_words(words)))
        found = found.order_by(jobs.c.id.desc()).limit(limit)
        if task is not None:
            found = found.where(jobs.c.task == task)
        if before is not None:
            found = found.where(jobs.c.id < before)
        if states:
            found = found.where(jobs.c.state.in_(states))
        if project is not None:
            found = found.where(jobs.c.project_id == project)
        if parent is not None:
            found = found.where((jobs.c.parent_id == parent) | (jobs.c.id == parent))
        with self._database.reading() as connection:
            return [as_job(row) for row in connection.execute(found)]

    def naming(
        self, base: str, states: Collection[State] = (), task: Task | None = None
    ) -> list[int]:
        """The numbers of the jobs whose settings name a base, the newest first."""
        line = toml_line("base", base) + "\n"
        named = or_(
            jobs.c.settings.startswith(line, autoescape=True),
            jobs.c.settings.contains("\n" + line, autoescape=True),
        )
        found = select(jobs.c.id).where(self._seen, named).order_by(jobs.c.id.desc())
        if states:
            found = found.where(jobs.c.state.in_(states))
        if task is not None:
            found = found.where(jobs.c.task == task)
        with self._database.reading() as connection:
            return list(connection.execute(found).scalars())

    def queue(self) -> list[Job]:
        """What waits for a worker, in the order in which they take it."""
        waiting = select(jobs).where(jobs.c.state == State.QUEUED).order_by(*_QUEUE)
        with self._database.reading() as connection:
            return [as_job(row) for row in connection.execute(waiting)]

    def move(self, job_id: int, places: int) -> Job:
        """Let a queued job go so many places later, or earlier below 0.

        Raises JobRefused, Forbidden.
        """
        waiting = select(jobs).where(jobs.c.state == State.QUEUED).order_by(*_QUEUE)
        with self._database.writing() as connection:
            job = self._locked(connection, job_id)
            if job.state is not State.QUEUED:
                raise JobRefused(f"Job {job.id} does not wait in the queue: it is {job.state}.")
            order = [as_job(row) for row in connection.execute(waiting.with_for_update())]
            given = [other.priority for other in order]
            at = next(place for place, other in enumerate(order) if other.id == job_id)
            order.insert(min(max(at + places, 0), len(order) - 1), order.pop(at))
            for other, priority in zip(order, _falling(order, given), strict=True):
                if other.priority != priority:
                    put(connection, other, priority=priority)
            note(connection, job.id, job.attempt, {"event": "moved", "places": places})
            return locked(connection, job_id)

    def events(
        self,
        job_id: int | None = None,
        *,
        after: int = 0,
        limit: int = 1000,
        names: Collection[str] = (),
        newest: bool = False,
    ) -> list[JobEvent]:
        """What happened to a job, or to any, in order, from behind the event numbered `after`.

        `names`: such events only; `newest`: of more than `limit` the last ones.
        """
        order = events.c.id.desc() if newest else events.c.id
        found = select(events).where(events.c.id > after).order_by(order).limit(limit)
        if names:
            found = found.where(events.c.name.in_(names))
        if job_id is not None:
            found = found.where(events.c.job_id == job_id)
        if not self._person.is_owner:
            found = found.where(events.c.job_id.in_(select(jobs.c.id).where(self._seen)))
        with self._database.reading() as connection:
            rows = list(connection.execute(found))
        if newest:
            rows.reverse()
        return [
            JobEvent(row.id, row.job_id, row.attempt, row.at, json.loads(row.body)) for row in rows
        ]

    def known(self, numbers: set[int]) -> set[int]:
        """Those of the jobs that the person may see."""
        found = select(jobs.c.id).where(self._seen, jobs.c.id.in_(numbers))
        with self._database.reading() as connection:
            return set(connection.execute(found).scalars())

    def last_event(self) -> int:
        """The number of the newest event; 0 before the first."""
        with self._database.reading() as connection:
            return connection.execute(select(func.max(events.c.id))).scalar() or 0

    def cancel(self, job_id: int) -> Job:
        """Give a job up: at once where it waits, between steps where it runs. Again: no change.

        Raises JobRefused where it has ended otherwise.
        """
        with self._database.writing() as connection:
            job = self._locked(connection, job_id)
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
            job = self._locked(connection, job_id)
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
            job = self._locked(connection, job_id)
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

    def sample(self, job_id: int) -> Job:
        """Let a run draw its samples after the step at hand, and go on. Raises JobRefused."""
        return self._wish(job_id, Wish.SAMPLE)

    def save(self, job_id: int) -> Job:
        """Let a run write a checkpoint and its adapter after the step at hand, and go on.

        Raises JobRefused.
        """
        return self._wish(job_id, Wish.SAVE)

    def _wish(self, job_id: int, wish: Wish) -> Job:
        with self._database.writing() as connection:
            job = self._locked(connection, job_id)
            if job.task is not Task.TRAIN or job.state not in HELD:
                raise JobRefused(
                    f"Job {job.id} is {job.state}: only a training that runs can draw samples or "
                    "save in between."
                )
            if job.request is not Request.NONE:
                raise JobRefused(
                    f"Job {job.id} was asked to {job.request}: only a run that goes on can draw "
                    "samples or save in between."
                )
            if wish is Wish.SAMPLE and not tomllib.loads(job.settings)["samples"].get("prompts"):
                raise JobRefused(
                    f"Job {job.id} has no sample prompts; train again with some, or try the "
                    "adapter of a step in the playground."
                )
            note(connection, job.id, job.attempt, {"event": "wish", "wish": wish})
            return job

    def resume(self, job_id: int) -> Job:
        """Take up a paused or failed job where it was; take back a pause. Raises JobRefused."""
        with self._database.writing() as connection:
            job = self._locked(connection, job_id)
            if job.trashed_at is not None:
                raise JobRefused(f"Job {job.id} is in the bin; take it out of there first.")
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

    def trash(self, numbers: Collection[int]) -> list[Job]:
        """Ended jobs into the bin for 30 days, with the pictures that they drew; all or none.

        Again: no change. Raises JobUnknown, JobRefused, Forbidden.
        """
        now = time.time()
        with self._database.writing() as connection:
            found = [self._locked(connection, number) for number in sorted(set(numbers))]
            for job in found:
                if job.state not in ENDED:
                    raise JobRefused(
                        f"Job {job.id} is {job.state}: only what has ended goes into the bin. "
                        "Cancel it first."
                    )
            for job in found:
                if job.trashed_at is None:
                    put(connection, job, trashed_at=now)
                    _throw_pictures(connection, job, None, now)
                    note(connection, job.id, job.attempt, {"event": "trashed"})
            return [locked(connection, job.id) for job in found]

    def restore(self, job_id: int) -> Job:
        """Out of the bin, with its pictures. Raises JobRefused where its files are gone."""
        with self._database.writing() as connection:
            job = self._locked(connection, job_id)
            if job.is_gone:
                raise JobRefused(
                    f"Job {job.id} has left the bin for good. Its settings are kept: train again "
                    "with them."
                )
            if job.trashed_at is not None:
                put(connection, job, trashed_at=None)
                _throw_pictures(connection, job, job.trashed_at, None)
                note(connection, job.id, job.attempt, {"event": "restored"})
            return locked(connection, job_id)

    def thrown(self, before: float | None = None) -> list[Job]:
        """Those in the bin, or that came there with all their pictures before a moment, and what
        left it half removed; not one of whose pictures somebody has taken out again."""
        own = pictures.c.job_id == jobs.c.id
        found = select(jobs).where(jobs.c.trashed_at.is_not(None), self._seen)
        found = found.where(~select(pictures.c.id).where(own, _kept(before)).exists())
        if before is not None:
            found = found.where(jobs.c.trashed_at <= before)
        with self._database.reading() as connection:
            rows = connection.execute(found).all()
        return [job for job in map(as_job, rows) if job.trashed_at or job.folder.is_dir()]

    def give_up(self, job_id: int, before: float) -> bool:
        """Out of the bin for good, and whether its folder is its caller's to remove: not where it,
        or one of its pictures, was taken out meanwhile, or came there after a moment."""
        kept = select(pictures.c.id).where(pictures.c.job_id == job_id, _kept(before))
        with self._database.writing() as connection:
            job = self._locked(connection, job_id)
            if job.trashed_at is None or connection.execute(kept.limit(1)).first():
                return False
            put(connection, job, trashed_at=0)
            return True

    def workers(self) -> list[WorkerSeen]:
        """Those that have had a job, the last seen first."""
        found = (
            select(
                jobs.c.worker,
                func.max(jobs.c.started_at).label("last_at"),
                func.count().label("count"),
                func.sum(case((jobs.c.state.in_(HELD), 1), else_=0)).label("held"),
            )
            .where(self._seen, jobs.c.worker != "")
            .group_by(jobs.c.worker)
            .order_by(func.max(jobs.c.started_at).desc())
            .limit(20)
        )
        with self._database.reading() as connection:
            return [WorkerSeen(*row) for row in connection.execute(found)]

    def share(self, job_id: int, visibility: Visibility) -> Job:
        """Say who else may see a job. Raises JobUnknown, Forbidden."""
        with self._database.writing() as connection:
            put(connection, self._locked(connection, job_id), visibility=visibility)
            return locked(connection, job_id)

    def _one(self, job_id: int) -> Select[Any]:
        return select(jobs).where(jobs.c.id == job_id, self._seen)

    def _locked(self, connection: Connection, job_id: int) -> Job:
        """For a change. Raises JobUnknown, Forbidden."""
        if connection.execute(self._one(job_id)).first() is None:
            raise _unknown(job_id)
        job = locked(connection, job_id)
        check(self._person, "change", job.owner_id, job.visibility)
        return job


def _unknown(job_id: int) -> JobUnknown:
    return JobUnknown(f"There is no job {job_id}; `loraloom jobs list` shows those there are.")


def _started(connection: Any, start: Start) -> Job | None:
    row = connection.execute(select(jobs).where(jobs.c.start_key == start.key)).first()
    if row is not None and row.start_body != start.body:
        raise JobRefused(
            f"Job {row.id} was started by this key with something else. Take a new "
            "key for a new job."
        )
    return None if row is None else as_job(row)


def _holds(word: str) -> ColumnElement[bool]:
    if word[0] == "#" and word[1:].isdecimal():
        return jobs.c.id == min(int(word[1:11]), 2**31 - 1)
    return jobs.c.name.icontains(word, autoescape=True)


def _in_bin(trashed: bool) -> ColumnElement[bool]:
    return jobs.c.trashed_at > 0 if trashed else jobs.c.trashed_at.is_(None)


def _kept(before: float | None) -> ColumnElement[bool]:
    """Pictures that are not in the bin, or came there after a moment."""
    kept = pictures.c.trashed_at.is_(None)
    return kept if before is None else or_(kept, pictures.c.trashed_at > before)


def _throw_pictures(
    connection: Connection, job: Job, was: float | None, trashed_at: float | None
) -> None:
    """The pictures of a job that came into the bin at `was`, or are in none, go with it."""
    there = pictures.c.trashed_at.is_(None) if was is None else pictures.c.trashed_at == was
    own = (pictures.c.job_id == job.id) & there
    connection.execute(update(pictures).where(own).values(trashed_at=trashed_at))


def _falling(order: list[Job], given: list[int]) -> list[int]:
    """The priorities that were given, from high to low, for jobs in a new order.

    Of two with one priority the older goes first: where the order wants the younger, it gets more.
    """
    priorities: list[int] = []
    for place in reversed(range(len(order))):
        least = given[place]
        if priorities:
            older = order[place].id < order[place + 1].id
            least = max(least, priorities[-1] if older else priorities[-1] + 1)
        priorities.append(least)
    return priorities[::-1]


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
