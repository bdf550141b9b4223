"""The server's decoding children: one pool, which ends when nobody needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from loraloom.dataset.checking import Checkers

IDLE_S = 60.0
"""A child takes 100 MiB; after so long without work it ends."""


class Decoders:
    """Lends one pool of children to all that decode."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: Checkers | None = None
        self._users = 0
        self._timer: threading.Timer | None = None

    @contextmanager
    def lent(self) -> Iterator[Checkers]:
        """The pool, for as long as it is used."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            self._pool = self._pool or Checkers()
            self._users += 1
            pool = self._pool
        try:
            yield pool
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._timer = threading.Timer(IDLE_S, self.close)
                    self._timer.daemon = True
                    self._timer.start()

    def close(self) -> None:
        """End the children, unless somebody uses them."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            if self._pool and not self._users:
                self._pool.__exit__()
                self._pool = None
