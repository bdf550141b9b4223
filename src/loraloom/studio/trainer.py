"""A job's attempt: the process of its task, what it tells and how it is asked to end."""

from __future__ import annotations

import datetime
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from loraloom.files import telling_failures, write_atomic
from loraloom.studio import claimed_folder, workers
from loraloom.studio.exits import oom_kills
from loraloom.studio.job import Job, Request, Task, Wish
from loraloom.studio.process import Drawer, Process

LOG = "log.txt"
SETTINGS = "settings.toml"
_SIGNALS = {
    Request.CANCEL: signal.SIGTERM,
    Request.PAUSE: signal.SIGTERM,
    Request.STOP: signal.SIGUSR1,
}
"""What the trainer knows: SIGTERM saves after the step at hand, SIGUSR1 ends with the adapter."""

_WISHES = {Wish.SAMPLE: signal.SIGUSR2, Wish.SAVE: signal.SIGURG}

DRAWN = (Task.GENERATE, Task.GRID)
"""Tasks of a process that stays, so that the next pictures of a base need not wait for it."""

_PROGRAM = [sys.executable, "-m", "loraloom"]
_DRAW = [*_PROGRAM, "generate", "--handed", "{}", "--json"]
_COMMANDS: dict[Task, Callable[[str, str], list[str]]] = {
    Task.TRAIN: lambda settings, out: ["train", settings, "--out", out],
    Task.DESCRIBE: lambda settings, out: ["caption", "auto", "--order", settings],
}
"""Task -> its command, given the file of its settings and the folder that it writes into. All tell
events with --json, the last one "finished" or "failed". A run that has begun takes --resume;
what is drawn or described is never drawn or described again."""


def command(job: Job) -> list[str]:
    """What runs a job whose process does not stay."""
    words = _COMMANDS[job.task](str(job.folder / SETTINGS), str(job.run_folder))
    again = ["--resume"] if (job.run_folder / "run.json").exists() else []
    return [*_PROGRAM, *words, *again, "--json"]


def start(job: Job, gpu: str | None, drawer: Drawer | None = None) -> Trainer | None:
    """Start or go on with the job's run; None while an earlier trainer is still in its folder.

    `drawer`, which has nothing to do, draws what is to be drawn. Raises DiskFull, OutputUnwritable.
    """
    with telling_failures(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
        lock = claimed_folder.take(job.folder)
    if lock is None:
        claimed_folder.evict(job.folder)
        return None
    path = job.folder / LOG
    try:
        write_atomic(job.folder / SETTINGS, job.settings.encode())
        with telling_failures(path), path.open("ab") as log:
            when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            log.write(f"--- attempt {job.attempt}, {when}, {workers.title(job.worker)}\n".encode())
            log.flush()
            if job.task in DRAWN:
                return Trainer(job, _draw(job, gpu, drawer, lock, log))
            return Trainer(job, Process(command(job), gpu, log, [lock], lock))
    finally:
        os.close(lock)  # the trainer has its own


def _draw(job: Job, gpu: str | None, drawer: Drawer | None, lock: int, log: IO[bytes]) -> Drawer:
    """The drawer with the job's order; a new one where there is none any more."""
    order = job.folder / SETTINGS
    if drawer is not None:
        try:
            drawer.hand(order, job.run_folder, lock, log)
            return drawer
        except OSError:  # it has ended
            drawer.close()
    new = Drawer(_DRAW, gpu, log)
    with suppress(OSError):  # it has ended at once: its status tells
        new.hand(order, job.run_folder, lock, log)
    return new


class Trainer:
    """The process at work on a job, what it told and how it ended."""

    def __init__(self, job: Job, process: Process) -> None:
        self._job = job
        self._process = process
        self._asked: dict[Request, float] = {}
        self.oom_kills_before = oom_kills()
        self.last: Mapping[str, Any] = {}
        """The last event of it: "finished", "failed", or something on the way."""

    @property
    def log(self) -> Path:
        """What all attempts wrote for people."""
        return self._job.folder / LOG

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs. 0 of one that stays."""
        return 0 if self._done_drawer else self._process.status

    @property
    def _done_drawer(self) -> Drawer | None:
        """The process, where it stays and is done with the job."""
        done = self.last.get("event") == "finished"
        return self._process if done and isinstance(self._process, Drawer) else None

    def ask(self, request: Request, grace_s: float) -> None:
        """Pass on what the user wants; end it when it does not obey within the grace time.

        Ending with the adapter takes as long as it takes: it measures and writes.
        """
        if request is Request.STOP and not self.last:
            return  # it does not listen yet
        if request not in self._asked:
            self._asked[request] = time.monotonic()
            self._process.send(_SIGNALS[request])
        elif request is not Request.STOP and time.monotonic() - self._asked[request] > grace_s:
            self.kill()

    def wish(self, wish: Wish) -> bool:
        """Pass on what it is to do in between; False while it does not listen yet."""
        if self.last:
            self._process.tell(_WISHES[wish])
        return bool(self.last)

    @property
    def asked_to_leave(self) -> bool:
        """Whether its stopping is what was asked for."""
        return bool(self._asked.keys() & {Request.CANCEL, Request.PAUSE})

    def kill(self) -> None:
        """End the whole group at once."""
        self._process.send(signal.SIGKILL)

    def close(self) -> Drawer | None:
        """End what still runs, and wait for it; a drawer that is done is given back."""
        if self._done_drawer is None:
            self._process.close()
        return self._done_drawer

    def read(self) -> list[Mapping[str, Any]]:
        """The events told since the last call."""
        told = []
        for line in self._process.lines():
            event = _event(line)
            if event is None:
                with self.log.open("ab") as log:
                    log.write(line + b"\n")
            else:
                told.append(event)
        if told:
            self.last = told[-1]
        return told


def _event(line: bytes) -> Mapping[str, Any] | None:
    """What a line tells, if it is an event."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None
