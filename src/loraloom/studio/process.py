"""A job's process: a child in a process group of its own, and the lines that it tells."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from loraloom.studio import claimed_folder, handing
from loraloom.studio.child import tied_to_parent


class Process:
    """Started at once; it does not outlive this one."""

    def __init__(
        self, words: Sequence[str], gpu: str | None, log: IO[bytes], files: Sequence[int],
        lock: int | None = None,
    ) -> None:  # fmt: skip
        """`files` are open in it too; the file of `lock` names it from its first moment on."""
        visible = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        self._rest = b""
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **visible},
            pass_fds=files,
            start_new_session=True,
            preexec_fn=tied_to_parent(
                signal.SIGKILL,
                lambda: None if lock is None else claimed_folder.sign(lock, os.getpid()),
            ),
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def lines(self) -> list[bytes]:
        """What it has written since the last call."""
        parts = [self._rest]
        while part := self._output.read(1 << 16):
            parts.append(part)
        *lines, self._rest = b"".join(parts).split(b"\n")
        return lines

    def send(self, number: signal.Signals) -> None:
        """To the whole group."""
        if self._process.poll() is None:  # not waited for: the number cannot be another's yet
            os.killpg(self._process.pid, number)

    def tell(self, number: signal.Signals) -> None:
        """To the process alone: those that it has started may not know the signal."""
        if self._process.poll() is None:
            os.kill(self._process.pid, number)

    def close(self) -> None:
        """End what still runs, and wait for it."""
        self.send(signal.SIGKILL)
        self._process.wait()
        self._output.close()


class Drawer(Process):
    """One that stays for further orders, and keeps what it has loaded."""

    def __init__(self, words: Sequence[str], gpu: str | None, log: IO[bytes]) -> None:
        """`words` with {} in place of the number of its end of the line."""
        self._line, end = socket.socketpair()
        with end:
            number = end.fileno()
            super().__init__([word.format(number) for word in words], gpu, log, [number])

    def hand(self, order: Path, out: Path, lock: int, log: IO[bytes]) -> None:
        """Let it draw an order. Raises OSError where it has ended."""
        claimed_folder.sign(lock, self.pid)
        handing.hand(self._line, order, out, lock, log.fileno())

    def close(self) -> None:
        super().close()
        self._line.close()
