"""One process at a time changes a dataset."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loraloom.errors import DatasetBusy
from loraloom.files import telling_failures

if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _try_lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _try_lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(path: Path, what: str, wait_s: float = 10.0) -> Iterator[None]:
    """Hold the lock file `path`; the system frees it when the process dies, however it dies.

    Raises DatasetBusy, naming `what` and the process, when it is not free within `wait_s`.
    """
    with telling_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait_for(handle, path, what, wait_s)
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, path: Path, what: str, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while True:
        try:
            _try_lock(handle)
            return
        except OSError as error:
            if time.monotonic() > until:
                holder = path.read_text(encoding="ascii", errors="replace") or "unknown"
                raise DatasetBusy(
                    f"{what} is being changed by process {holder}; wait for it to end, then try "
                    "again."
                ) from error
        time.sleep(0.05)
