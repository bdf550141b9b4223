"""Stopping between steps: Ctrl-C and SIGTERM ask, the loop honours."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class TrainingStopped(KeyboardInterrupt):
    """The run was asked to stop and has saved what it had; the message says how to go on."""


class StopRequest:
    """Within `with`, the first SIGINT or SIGTERM sets `asked` and calls `tell`, to let the user
    know at once; a second one acts as ever.

    Only the main thread can watch signals; elsewhere `asked` is set by whoever holds this.
    """

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self.asked = False
        self._tell = tell
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
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
        self._restore()
        self._tell()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
