"""Readiness checks of stored datasets that run beside the server, one process each."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from loraloom.dataset.readiness.stored import Report, last_report, similar
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import ConfigInvalid
from loraloom.files import write_atomic
from loraloom.kinds import Kind

LONGEST_BASE = 500
_LOG = logging.getLogger("loraloom.studio")


@dataclass(frozen=True)
class Aim:
    """What a dataset is for: the kind that is to be learnt, and the base."""

    kind: Kind = Kind.CHARACTER
    base: str = "starter"


@dataclass
class Running:
    """A check that is under way, or how it ended."""

    stage: str = ""
    done: int = 0
    total: int = 0
    error: str = ""
    ended: bool = False
    again: bool = False
    """It was asked for once more meanwhile: the dataset may be another by now."""


class Checks:
    """All checks of an installation; each dataset has one at a time."""

    def __init__(self, measures: Path) -> None:
        self._measures = measures
        self._lock = threading.Lock()
        self._running: dict[tuple[str, Aim], Running] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()

    def aim(self, stored: StoredDataset) -> Aim:
        """What was last said that the dataset is for."""
        try:
            tree = json.loads((stored.root / "aim.json").read_text(encoding="utf-8"))
            return Aim(Kind(tree["kind"]), str(tree["base"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Aim()

    def set_aim(self, stored: StoredDataset, aim: Aim) -> None:
        """Remember what a dataset is for. Raises ConfigInvalid."""
        if not aim.base.strip() or len(aim.base) > LONGEST_BASE:
            raise ConfigInvalid("Name the base that the dataset is for, such as starter or sdxl.")
        tree = {"kind": aim.kind.value, "base": aim.base}
        write_atomic(stored.root / "aim.json", json.dumps(tree).encode())

    def report(self, stored: StoredDataset, aim: Aim | None = None) -> Report | None:
        """What the last check found, perhaps of an earlier state of the dataset."""
        aim = aim or self.aim(stored)
        return last_report(stored, aim.kind, aim.base)

    def similar(self, stored: StoredDataset, sha256: str) -> dict[str, float] | None:
        """What looks like a picture; None where no check has seen it. See readiness.stored."""
        aim = self.aim(stored)
        return similar(stored, aim.kind, aim.base, sha256)

    def running(self, stored: StoredDataset, aim: Aim) -> Running | None:
        """The check under way, or the last one if it broke off."""
        with self._lock:
            return self._running.get((stored.name, aim))

    def start(self, stored: StoredDataset, aim: Aim) -> Running:
        """Begin a check; one that is under way is followed by another."""
        with self._lock:
            under_way = self._running.get((stored.name, aim))
            if under_way and not under_way.ended:
                under_way.again = True
                return under_way
            running = self._running[stored.name, aim] = Running()
        work = threading.Thread(target=self._work, args=(stored, aim, running), daemon=True)
        work.start()
        return running

    def run(self, stored: StoredDataset, aim: Aim) -> Running:
        """Check and wait for the end."""
        running = Running()
        self._work(stored, aim, running)
        return running

    def close(self) -> None:
        """End what is under way."""
        for process in list(self._processes):
            process.kill()

    def _work(self, stored: StoredDataset, aim: Aim, running: Running) -> None:
        try:
            while True:
                try:
                    self._check(stored, aim, running)
                except (OSError, ValueError, subprocess.SubprocessError):
                    _LOG.exception("a check of the dataset %s broke off", stored.name)
                with self._lock:
                    if not running.again:
                        running.ended = True
                        return
                    running.again = False
        finally:
            running.ended = True

    def _check(self, stored: StoredDataset, aim: Aim, running: Running) -> None:
        running.error = "The check broke off; the log of the studio has the reason. Try it again."
        process = subprocess.Popen(
            [sys.executable, "-m", "loraloom.dataset.readiness.stored"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the server's to handle
        )
        self._processes.add(process)
        asked = {
            "dataset": str(stored.root), "kind": aim.kind.value, "base": aim.base,
            "measures": str(self._measures),
        }  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{json.dumps(asked)}\n".encode())
            process.stdin.close()
            for told in process.stdout:
                self._hear(json.loads(told), running)
        finally:
            process.wait()
            self._processes.discard(process)

    def _hear(self, told: dict[str, object], running: Running) -> None:
        if "end" in told:
            running.error = str(told.get("message", ""))
        else:
            running.stage = str(told["stage"])
            running.done, running.total = int(str(told["done"])), int(str(told["total"]))
