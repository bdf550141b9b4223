"""Orders handed to a process that stays, each with the open files that belong to it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_MOST_BYTES = 1 << 16


def hand(line: socket.socket, order: Path, out: Path, lock: int, log: int) -> None:
    """To the other end, which has drawn all that it was handed before."""
    socket.send_fds(line, [json.dumps([str(order), str(out)]).encode()], [lock, log])


def handed(number: int) -> Iterator[tuple[Path, Path]]:
    """Each order and the folder to draw into, until the other end is closed.

    While it is drawn this process holds the lock of its job, and writes for people into its log.
    """
    with socket.socket(fileno=number) as line:
        while True:
            text, files, _, _ = socket.recv_fds(line, _MOST_BYTES, maxfds=2)
            if not text:
                return
            lock, log = files
            os.dup2(log, 2)
            os.close(log)
            order, out = json.loads(text)
            yield Path(order), Path(out)
            os.close(lock)
