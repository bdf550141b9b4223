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
from loraloom.web.who import Entry

LOOK_S = 1.0
"""Between looks into the database, while anybody listens."""
PING_S = 15.0
"""Without news for so long, a comment is sent: proxies and browsers drop silent connections."""
BATCH = 500
BACKLOG = 200
"""Batches that wait for a browser that does not read; then its stream ends, and it asks again."""
_LOG = logging.getLogger("loraloom.web")


class Live:
    """Reads new events once, makes the bytes of a server-sent event of each batch once, and hands
    them to all who may see them."""

    def __init__(self, jobs: Jobs, is_let_in: Callable[[Entry], bool]) -> None:
        """`is_let_in`: whether the right by which somebody came still holds."""
        self._jobs = jobs
        self._is_let_in = is_let_in
        self._listeners: dict[asyncio.Queue[bytes | None], Entry] = {}
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

    async def stream(self, after: int | None, entry: Entry) -> AsyncIterator[bytes]:
        """Batches of what a person may see, behind the event numbered `after`, or from now on.

        Ends when the person is let in no longer, which is asked before each.
        """
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(BACKLOG)
        newest = await run_in_threadpool(self._jobs.last_event)
        if not self._listeners:
            self._last = newest  # nobody listened, so nobody looked
        self._listeners[queue] = entry
        begins = self._last  # what comes behind it comes through the queue
        try:
            yield b"retry: 2000\n\n"
            while after is not None and after < begins:
                mine = self._jobs.seen_by(entry.person)
                missed = await run_in_threadpool(mine.events, after=after, limit=BATCH)
                missed = [event for event in missed if event.id <= begins]
                if not missed:
                    break
                after = missed[-1].id
                yield as_batch(missed)
            while True:
                try:
                    async with asyncio.timeout(PING_S):
                        batch = await queue.get()
                except TimeoutError:
                    held = await run_in_threadpool(self._is_let_in, entry)
                    batch = b": still here\n\n" if held else None
                if batch is None:
                    return
                yield batch
        finally:
            self._listeners.pop(queue, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._listeners:
                continue
            try:
                found = await run_in_threadpool(self._jobs.events, after=self._last, limit=BATCH)
                if found:
                    self._last = found[-1].id
                    await self._tell(found)
            except LoraloomError as error:
                _LOG.warning("No news of the jobs: %s", error)

    async def _tell(self, happened: list[JobEvent]) -> None:
        """Hand everybody what concerns jobs that they may see; many come by the same right."""
        listeners = list(self._listeners.items())
        batches = await run_in_threadpool(self._batches, {e for _, e in listeners}, happened)
        for queue, entry in listeners:
            if entry not in batches:
                _end(queue)
            elif batch := batches[entry]:
                _offer(queue, batch)

    def _batches(self, entries: set[Entry], happened: list[JobEvent]) -> dict[Entry, bytes]:
        """What each is told, empty where that is nothing; who is not let in any more is missing."""
        numbers = {event.job_id for event in happened}
        whole = as_batch(happened)
        told = {}
        for entry in filter(self._is_let_in, entries):
            if entry.person.is_owner:
                told[entry] = whole
                continue
            known = self._jobs.seen_by(entry.person).known(numbers)
            mine = [event for event in happened if event.job_id in known]
            told[entry] = as_batch(mine) if mine else b""
        return told


def _offer(queue: asyncio.Queue[bytes | None], batch: bytes) -> None:
    try:
        queue.put_nowait(batch)
    except asyncio.QueueFull:
        _end(queue)


def _end(queue: asyncio.Queue[bytes | None]) -> None:
    """Let the stream end at once, whatever waits."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def as_batch(events: list[JobEvent]) -> bytes:
    """One server-sent event: a JSON list of what happened, each with the number of its job."""
    told = [{"id": e.id, "job": e.job_id, "at": e.at, **e.body} for e in events]
    return f"id: {events[-1].id}\ndata: {json.dumps(told)}\n\n".encode()
