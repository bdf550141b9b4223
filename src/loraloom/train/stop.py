"""Stopping between steps: Ctrl-C, SIGTERM and SIGUSR1 ask, the loop honours."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class TrainingStopped(KeyboardInterrupt):
    """The run was asked to stop and has saved what it had; the message says how to go on."""


class StopRequest:
    """Within `with`, the first SIGINT or SIGTERM sets `asked` and calls `tell`, to let the user
    know at once; a second one acts as ever. SIGUSR1 sets `ending`: the run is to end with the step
    at hand as if it were its last, and its adapter be written.

    Only the main thread can watch signals; elsewhere `asked` is set by whoever holds this.
    """

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self.asked = False
        self.ending = False
        self._tell = tell
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
            if sys.platform != "win32":
                self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._end)
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

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore(signal.SIGINT, signal.SIGTERM)
        self._tell()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ending = True

    def _restore(self, *numbers: signal.Signals) -> None:
        """Take back the handlers of some signals, or of all."""
        for number in numbers or tuple(self._before):
            if number in self._before:
                signal.signal(number, self._before.pop(number))
