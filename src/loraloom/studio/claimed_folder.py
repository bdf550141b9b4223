"""One trainer at a time in a job's folder, by a lock that the system frees when it dies.

The trainer itself holds the lock, as an open file that it inherits, and not the worker that started
it: a worker may be frozen, lose its lease and leave a trainer behind. Whoever has the lease by then
ends that one first.
"""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

NAME = "lock"


def take(folder: Path) -> int | None:
    """An open file that holds the folder's lock, to be handed on; None while a trainer has it."""
    handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    os.ftruncate(handle, 0)
    return handle


def sign(lock: int, pid: int) -> None:
    """Let the lock's file name the process that holds it, for `evict`, and no earlier one."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(pid).encode(), 0)


def evict(folder: Path) -> bool:
    """End the process group of the trainer that holds the lock; False where it is not to be seen.

    Its number is taken from the lock's file and believed only if that process has the file open.
    """
    path = folder / NAME
    try:
        number = int(path.read_text(encoding="ascii"))
        open_files = [entry.stat() for entry in Path(f"/proc/{number}/fd").iterdir()]
    except (OSError, ValueError):
        return False
    if not any(os.path.samestat(found, path.stat()) for found in open_files):
        return False
    try:
        os.killpg(number, signal.SIGKILL)
    except OSError:
        return False
    return True
