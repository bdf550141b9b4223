"""What happens to jobs, told to all open browsers at once."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from starlette.concurrency import run_in_threadpool

from loraloom.errors import LoraloomError
from loraloom.studio.jobs import JobEvent, Jobs
from loraloom.studio.rights import Person

LOOK_S = 0.5
"""Between looks into the database, while anybody listens."""
PING_S = 15.0
"""Without news for so long, a comment is sent: proxies and browsers drop silent connections."""
BATCH = 500
BACKLOG = 200
"""Batches that wait for a browser that does not read; then its stream ends, and it asks again."""
_LOG = logging.getLogger("loraloom.web")


class Live:
    """Reads new events once, and hands each batch, as the bytes of a server-sent event, to all."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._listeners: dict[asyncio.Queue[list[JobEvent] | None], Person] = {}
        self._last = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the database as long as this is open; every stream ends with it."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self.close()

    def close(self) -> None:
        """End every stream."""
        for queue in self._listeners:
            _end(queue)

    async def stream(
        self, after: int | None, person: Person, is_let_in: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """Batches of what a person may see, behind the event numbered `after`, or from now on.

        Ends when `is_let_in` says no, which is asked before each.
        """
        queue: asyncio.Queue[list[JobEvent] | None] = asyncio.Queue(BACKLOG)
        newest = await run_in_threadpool(self._jobs.last_event)
        if not self._listeners:
            self._last = newest  # nobody listened, so nobody looked
        self._listeners[queue] = person
        begins = self._last  # what comes behind it comes through the queue
        try:
            yield b"retry: 2000\n\n"
            while after is not None and after < begins:
                mine = self._jobs.seen_by(person)
                missed = await run_in_threadpool(mine.events, after=after, limit=BATCH)
                missed = [event for event in missed if event.id <= begins]
                if not missed:
                    break
                after = missed[-1].id
                yield as_batch(missed)
            while True:
                try:
                    batch = await asyncio.wait_for(queue.get(), PING_S)
                except TimeoutError:
                    batch = []
                if batch is None or not await run_in_threadpool(is_let_in):
                    return
                yield as_batch(batch) if batch else b": still here\n\n"
        finally:
            self._listeners.pop(queue, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._listeners:
                continue
            try:
                found = await run_in_threadpool(self._jobs.events, after=self._last, limit=BATCH)
            except LoraloomError as error:
                _LOG.warning("No news of the jobs: %s", error)
                continue
            if found:
                self._last = found[-1].id
                await self._tell(found)

    async def _tell(self, happened: list[JobEvent]) -> None:
        """Hand everybody what concerns jobs that they may see."""
        numbers = {event.job_id for event in happened}
        known: dict[Person, set[int]] = {}
        for queue, person in list(self._listeners.items()):
            if person.is_owner:
                _offer(queue, happened)
                continue
            if person not in known:
                known[person] = await run_in_threadpool(self._jobs.seen_by(person).known, numbers)
            if told := [event for event in happened if event.job_id in known[person]]:
                _offer(queue, told)


def _offer(queue: asyncio.Queue[list[JobEvent] | None], batch: list[JobEvent]) -> None:
    try:
        queue.put_nowait(batch)
    except asyncio.QueueFull:
        _end(queue)


def _end(queue: asyncio.Queue[list[JobEvent] | None]) -> None:
    """Let the stream end at once, whatever waits."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def as_batch(events: list[JobEvent]) -> bytes:
    """One server-sent event: a JSON list of what happened, each with the number of its job."""
    told = [{"id": e.id, "job": e.job_id, "at": e.at, **e.body} for e in events]
    return f"id: {events[-1].id}\ndata: {json.dumps(told)}\n\n".encode()
