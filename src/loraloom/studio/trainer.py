"""A job's process: the command of its task as a child in a process group of its own."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from loraloom.files import telling_failures, write_atomic
from loraloom.studio import claimed_folder, workers
from loraloom.studio.child import tied_to_parent
from loraloom.studio.exits import oom_kills
from loraloom.studio.job import Job, Request, Task

LOG = "log.txt"
SETTINGS = "settings.toml"
_SIGNALS = {
    Request.CANCEL: signal.SIGTERM,
    Request.PAUSE: signal.SIGTERM,
    Request.STOP: signal.SIGUSR1,
}
"""What the trainer knows: SIGTERM saves after the step at hand, SIGUSR1 ends with the adapter."""

_COMMANDS: dict[Task, Callable[[str, str], list[str]]] = {
    Task.TRAIN: lambda settings, out: ["train", settings, "--out", out],
    Task.GENERATE: lambda settings, out: ["generate", "--order", settings, "--out", out],
    Task.GRID: lambda settings, out: ["generate", "--order", settings, "--out", out],
    Task.DESCRIBE: lambda settings, out: ["caption", "auto", "--order", settings],
}
"""Task -> its command, given the file of its settings and the folder that it writes into. All tell
events with --json, the last one "finished" or "failed". A run that has begun takes --resume;
what is drawn or described is never drawn or described again."""


def command(job: Job) -> list[str]:
    """What runs the job."""
    words = _COMMANDS[job.task](str(job.folder / SETTINGS), str(job.run_folder))
    again = ["--resume"] if (job.run_folder / "run.json").exists() else []
    return [sys.executable, "-m", "loraloom", *words, *again, "--json"]


def start(job: Job, gpu: str | None) -> Trainer | None:
    """Start or go on with the job's run; None while an earlier trainer is still in its folder.

    Raises DiskFull, OutputUnwritable.
    """
    with telling_failures(job.folder):
        job.folder.mkdir(parents=True, exist_ok=True)
        lock = claimed_folder.take(job.folder)
    if lock is None:
        claimed_folder.evict(job.folder)
        return None
    try:
        write_atomic(job.folder / SETTINGS, job.settings.encode())
        return Trainer(job, lock, gpu)
    finally:
        os.close(lock)  # the trainer has its own


class Trainer:
    """The running process, what it told and how it ended."""

    def __init__(self, job: Job, lock: int, gpu: str | None) -> None:
        self._job = job
        self._rest = b""
        self._asked: dict[Request, float] = {}
        self.oom_kills_before = oom_kills()
        self.last: Mapping[str, Any] = {}
        """The last event of it: "finished", "failed", or something on the way."""
        visible = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        with telling_failures(self.log), self.log.open("ab") as log:
            when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            log.write(f"--- attempt {job.attempt}, {when}, {workers.title(job.worker)}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                command(job),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **visible},
                pass_fds=[lock],
                start_new_session=True,
                preexec_fn=tied_to_parent(signal.SIGKILL, lambda: write_number(lock)),
            )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)

    @property
    def log(self) -> Path:
        """What all attempts wrote for people."""
        return self._job.folder / LOG

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask(self, request: Request, grace_s: float) -> None:
        """Pass on what the user wants; end it when it does not obey within the grace time.

        Ending with the adapter takes as long as it takes: it measures and writes.
        """
        if request is Request.STOP and not self.last:
            return  # it does not listen yet
        if request not in self._asked:
            self._asked[request] = time.monotonic()
            self._send(_SIGNALS[request])
        elif request is not Request.STOP and time.monotonic() - self._asked[request] > grace_s:
            self.kill()

    @property
    def asked_to_leave(self) -> bool:
        """Whether its stopping is what was asked for."""
        return bool(self._asked.keys() & {Request.CANCEL, Request.PAUSE})

    def kill(self) -> None:
        """End the whole group at once."""
        self._send(signal.SIGKILL)

    def close(self) -> None:
        """End what still runs, and wait for it."""
        self.kill()
        self._process.wait()
        self._output.close()

    def read(self) -> list[Mapping[str, Any]]:
        """The events told since the last call."""
        told = []
        *lines, self._rest = (self._rest + self._available()).split(b"\n")
        for line in lines:
            event = _event(line)
            if event is None:
                with self.log.open("ab") as log:
                    log.write(line + b"\n")
            else:
                told.append(event)
        if told:
            self.last = told[-1]
        return told

    def _available(self) -> bytes:
        parts = []
        while part := self._output.read(1 << 16):
            parts.append(part)
        return b"".join(parts)

    def _send(self, number: signal.Signals) -> None:
        if self._process.poll() is None:  # not waited for: the number cannot be another's yet
            os.killpg(self._process.pid, number)


def write_number(lock: int) -> None:
    """Let the lock's file name this process, as `claimed_folder.evict` reads it."""
    os.write(lock, str(os.getpid()).encode())


def _event(line: bytes) -> Mapping[str, Any] | None:
    """What a line tells, if it is an event."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("event"), str) else None
