"""What is asked of a run between two steps, by signals: to stop, to end, to draw, to save."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NamedTuple


class TrainingStopped(KeyboardInterrupt):
    """The run was asked to stop and has saved what it had; the message says how to go on."""


class Asked(NamedTuple):
    """What is wanted after the step at hand."""

    stop: bool = False
    """Save and leave."""
    end: bool = False
    """As if it were the last one."""
    samples: bool = False
    """Draw the sample prompts, and go on."""
    save: bool = False
    """Write a checkpoint and the adapter, and go on."""

    def also(self, other: Asked) -> Asked:
        """What either wants."""
        return Asked(*(one or more for one, more in zip(self, other, strict=True)))


class StopRequest:
    """Within `with`, the first SIGINT or SIGTERM sets `asked` and calls `tell`, to let the user
    know at once; a second one acts as ever. SIGUSR1 sets `ending`: the run is to end with the step
    at hand as if it were its last, and its adapter be written. SIGUSR2 sets `sampling` and SIGURG
    `saving`: the run is to draw its samples, or to write what it has, and to go on.

    Only the main thread can watch signals; elsewhere `asked` is set by whoever holds this.
    """

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self.asked = False
        self.ending = False
        self.sampling = False
        self.saving = False
        self._tell = tell
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
            if sys.platform != "win32":
                self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._end)
                self._before[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, self._sample)
                self._before[signal.SIGURG] = signal.signal(signal.SIGURG, self._save)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def check(self) -> None:
        """Before the first step: raise TrainingStopped if asked; everything cached is kept."""
        if self.asked:
            raise TrainingStopped("Stopped before the first step; go on with --resume.")

    def take(self) -> Asked:
        """What is wanted by now; samples and a save are wanted once."""
        wanted = Asked(self.asked, self.ending, self.sampling, self.saving)
        # What is asked for in this moment is done with what was asked for before.
        if wanted.samples:
            self.sampling = False
        if wanted.save:
            self.saving = False
        return wanted

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore(signal.SIGINT, signal.SIGTERM)
        self._tell()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ending = True

    def _sample(self, number: int, frame: FrameType | None) -> None:
        self.sampling = True

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.saving = True

    def _restore(self, *numbers: signal.Signals) -> None:
        """Take back the handlers of some signals, or of all."""
        for number in numbers or tuple(self._before):
            if number in self._before:
                signal.signal(number, self._before.pop(number))
