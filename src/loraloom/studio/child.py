"""Child processes that do not outlive their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def tied_to_parent(
    number: signal.Signals, first: Callable[[], object] = lambda: None
) -> Callable[[], None]:
    """For `preexec_fn`: the child does `first`, and then gets this signal when its parent dies.

    On Linux, and counted from the thread that starts it, which must live as long.
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        first()
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)

    return prepare
