"""Room for one job at a time: a GPU, or the CPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from loraloom.errors import LoraloomError
from loraloom.studio import exits, trainer
from loraloom.studio.exits import Failure
from loraloom.studio.job import Job, Reason, Request, Wish
from loraloom.studio.leases import LeaseLost, Leases
from loraloom.studio.process import Drawer
from loraloom.studio.trainer import Trainer

STAYS_S = 300.0
"""How long a base stays in memory for the next pictures, where nothing else is to be done."""

Tell = Callable[[int | None, str], None]
"""Called with a job's number, or None, and a sentence."""


def gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES can name here, a text for each GPU."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(number) for number in range(count)]


class Slot:
    """Brings one job after the other from the claim to its end."""

    def __init__(
        self, leases: Leases, gpu: str | None, tell: Tell, *, tells_gpu: bool = False
    ) -> None:
        """`tells_gpu`: there are several, so that people want to know which has a job."""
        self.job: Job | None = None
        self._tells_gpu = tells_gpu
        self._leases = leases
        self._gpu = gpu
        self._tell = tell
        self._drawer: Drawer | None = None  # with nothing to draw just now
        self._drew_at = 0.0
        self._clear()

    def _clear(self) -> None:
        self._trainer: Trainer | None = None
        self._untold: list[Mapping[str, Any]] = []  # events that are not yet in the database
        self._request = Request.NONE
        self._refused: Failure | None = None
        self._heard = 0  # the number of the newest event that was looked at
        self._wishes: list[Wish] = []  # that the trainer did not hear yet

    def take(self, job: Job) -> None:
        """Begin with a job that was just claimed."""
        self.job = job
        self._tell(job.id, f"{job.name}: attempt {job.attempt}")

    def attend(self, *, due: bool, leaving: bool, grace_s: float) -> None:
        """Hear the trainer, pass on what the user wants, and end the job when it has ended.

        `due`: a sign of life is; `leaving`: the worker wants to stop. Raises DatabaseUnusable, with
        nothing forgotten.
        """
        if self.job is None:
            if time.monotonic() - self._drew_at > STAYS_S:
                self._empty()
            return
        try:
            if self._trainer is not None:
                self._follow(self.job, self._trainer, due=due, leaving=leaving, grace_s=grace_s)
            elif due:
                self._start(self.job, leaving=leaving)
        except LeaseLost:
            self._tell(self.job.id, "another worker has it, or it has ended; its trainer is ended")
            self.free()

    def free(self) -> None:
        """Let go of the job; a trainer that still runs is ended."""
        if self._trainer is not None:
            self._drawer, self._drew_at = self._trainer.close(), time.monotonic()
        self.job = None
        self._clear()

    def close(self) -> None:
        """Let go of the job and of all that is in memory."""
        self.free()
        self._empty()

    def _empty(self) -> None:
        if self._drawer is not None:
            self._drawer.close()
        self._drawer = None

    def _start(self, job: Job, *, leaving: bool) -> None:
        """Confirm the lease, then start the trainer once nobody is in the folder any more."""
        self._request = self._leases.beat(job.lease)
        if leaving or self._request in (Request.CANCEL, Request.PAUSE):
            self._leases.release(job.lease)
            self.free()
            return
        self._heard = self._leases.before(job.lease)
        if job.task not in trainer.DRAWN:
            self._empty()
        try:
            self._trainer = trainer.start(job, self._gpu, self._drawer)
        except LoraloomError as error:
            self._fail(job, Failure(Reason.DISK, str(error)))
        if self._trainer is not None:
            self._drawer = None
            if self._tells_gpu:
                self._untold.append({"event": "placed", "gpu": self._gpu})

    def _follow(
        self, job: Job, running: Trainer, *, due: bool, leaving: bool, grace_s: float
    ) -> None:
        status = running.status  # asked before reading: what it wrote is then all there
        told = running.read()
        self._untold += told
        self._refused = self._refused or _too_large(told)
        if due or status is not None:
            self._request = self._leases.beat(job.lease, self._untold)
            self._untold = []
            self._heard, wished = self._leases.wishes(job.lease, self._heard)
            self._wishes += wished
        if status is not None:
            self._end(job, running, status)
        elif self._refused:
            running.kill()
        elif wanted := self._request or (Request.PAUSE if leaving else Request.NONE):
            running.ask(wanted, grace_s)
        else:
            self._wishes = [wish for wish in self._wishes if not running.wish(wish)]

    def _end(self, job: Job, ended: Trainer, status: int) -> None:
        if ended.last.get("event") == "finished":  # which is told when all is written
            self._leases.finish(job.lease)
            self._tell(job.id, "finished")
        elif self._refused:
            self._fail(job, self._refused)
            return
        elif ended.asked_to_leave and ended.last.get("event") != "failed":
            self._leases.release(job.lease)
            self._tell(job.id, "stopped")
        else:
            self._fail(job, exits.failure(status, ended.last, ended.log, ended.oom_kills_before))
            return
        self.free()

    def _fail(self, job: Job, failure: Failure) -> None:
        self._leases.fail(job.lease, failure.reason, failure.message)
        self._tell(job.id, f"failed ({failure.reason}): {failure.message}")
        self.free()


def _too_large(told: list[Mapping[str, Any]]) -> Failure | None:
    """The refusal of a run that is told to need more memory than there is, before it loads."""
    for event in told:
        match event:
            case {"event": "planned", "peak_mib": int(peak), "available_mib": int(available)}:
                if peak > available:
                    return Failure(
                        Reason.MEMORY,
                        f"This run would need about {peak / 1024:.1f} GiB of memory, and there are "
                        f"{available / 1024:.1f} GiB. `loraloom plan` tells what to change to need "
                        "less; retry with it.",
                    )
    return None
