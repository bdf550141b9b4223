"""A worker: takes jobs from the queue and runs each in a process of its own."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from loraloom.errors import DatabaseUnusable
from loraloom.files import telling_failures
from loraloom.settings import data_folder
from loraloom.studio import workers
from loraloom.studio.database import Database
from loraloom.studio.leases import Leases, Reaper
from loraloom.studio.slot import Slot, Tell

LEAST_FREE_MIB = 1024
"""With less on the data folder's disk no job is started; those in the queue wait."""


@dataclass(frozen=True)
class Pace:
    """How often a worker does what; in seconds."""

    look_s: float = 0.2
    """Between looks at its trainers."""
    beat_s: float = 2.0
    """Between signs of life, and looks into the queue."""
    lost_s: float = 60.0
    """Without a sign of life for so long, a job goes back to the queue."""
    grace_s: float = 120.0
    """What a trainer has for the step at hand and to save, before it is ended."""


PACE = Pace()


class Worker:
    """Runs jobs in its slots until it is asked to stop."""

    def __init__(
        self, database: Database, gpus: Sequence[str | None], tell: Tell, pace: Pace = PACE
    ) -> None:
        """One slot for each of `gpus`; None in it is what CUDA_VISIBLE_DEVICES says, or the CPU."""
        self.name = workers.own_name()
        self._leases = Leases(database)
        several = len(set(gpus)) > 1
        self._slots = [Slot(self._leases, gpu, tell, tells_gpu=several) for gpu in gpus]
        self._tell = tell
        self._pace = pace
        self._reaper = Reaper(self._leases, pace.lost_s)
        self._leaving = False
        self._troubles: set[str] = set()

    def run(self, *, once: bool = False) -> None:
        """Until SIGTERM or Ctrl-C; with `once`, until no job is queued or running anywhere.

        The first signal lets every trainer save and stop, a second ends them at once.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        beaten = float("-inf")
        try:
            while True:
                due = time.monotonic() - beaten >= self._pace.beat_s
                beaten = time.monotonic() if due else beaten
                try:
                    over = self._pass(due=due)
                    self._trouble("database", None)
                    if over and (once or self._leaving):
                        return
                except DatabaseUnusable as error:  # trainers go on; their events are kept
                    self._trouble("database", str(error))
                    if self._leaving and all(slot.job is None for slot in self._slots):
                        return
                time.sleep(self._pace.look_s)
        finally:
            for slot in self._slots:
                slot.close()

    def _ask(self, number: int, frame: object) -> None:
        if self._leaving:
            raise KeyboardInterrupt
        self._leaving = True
        self._tell(None, "Stopping: the trainers save after the step at hand; again: at once.")

    def _pass(self, *, due: bool) -> bool:
        """Attend to every slot and, where it is `due`, to the queue; whether all is done."""
        for slot in self._slots:
            slot.attend(due=due, leaving=self._leaving, grace_s=self._pace.grace_s)
        if self._leaving:
            return all(slot.job is None for slot in self._slots)
        if not due:
            return False
        for number in self._reaper.look():
            self._tell(number, "its worker gave no sign of life any more")
        for slot in self._slots:
            if slot.job is None and self._has_room() and (job := self._leases.claim(self.name)):
                slot.take(job)
        return not self._leases.any_left()

    def _has_room(self) -> bool:
        folder = data_folder()
        with telling_failures(folder):
            folder.mkdir(parents=True, exist_ok=True)
        free_mib = shutil.disk_usage(folder).free >> 20
        short = (
            f"No job is started: {folder} has {free_mib} MiB free, and {LEAST_FREE_MIB} are "
            "needed. Free some space; the queue waits."
        )
        self._trouble("disk", short if free_mib < LEAST_FREE_MIB else None)
        return free_mib >= LEAST_FREE_MIB

    def _trouble(self, what: str, sentence: str | None) -> None:
        """Tell of a trouble once, until it is over."""
        if sentence is None:
            self._troubles.discard(what)
        elif what not in self._troubles:
            self._troubles.add(what)
            self._tell(None, sentence)
