"""The server's process: one on a data folder, with a worker beside it."""

from __future__ import annotations

import fcntl
import gc
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import uvicorn

from loraloom.errors import ServerRefused
from loraloom.files import telling_failures
from loraloom.studio.child import tied_to_parent
from loraloom.studio.studio import Studio
from loraloom.web.app import create_app
from loraloom.web.guard import LOOPBACK, canonical

EVERYWHERE = frozenset(("0.0.0.0", "::"))
RESTART_S = 5.0
"""Between the end of a worker that broke down and the start of another."""
LEAVE_S = 150.0
"""What a worker has to let its trainers save."""


def serve(
    studio: Studio,
    host: str,
    port: int,
    *,
    names: Sequence[str] = (),
    behind_proxy: bool = False,
    worker: bool = True,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Answer until Ctrl-C or SIGTERM; `ready` is told the address once it answers.

    Raises ServerRefused where another server has the data folder or the port, or where others could
    reach a studio that has no accounts.
    """
    for_others = behind_proxy or host not in LOOPBACK
    if for_others and not studio.people.any():
        where = (
            "A proxy passes on what others ask"
            if behind_proxy
            else (f"{host} can be reached by others")
        )
        raise ServerRefused(
            f"{where}, and this studio has no accounts: anybody could use it. Make the first with "
            "`loraloom people add NAME --owner`; or leave out --host and --behind-proxy, and reach "
            "it from elsewhere by an SSH tunnel."
        )
    with only_server(studio.data), _socket(host, port) as listening:
        number = listening.getsockname()[1]
        at = {"127.0.0.1", "localhost", "[::1]", *([] if host in EVERYWHERE else [named(host)])}
        app = create_app(
            studio, frozenset((*(f"{name}:{number}" for name in at), *_checked(names))),
            addresses_at=number if host in EVERYWHERE else None,
            for_others=for_others, behind_proxy=behind_proxy,
        )  # fmt: skip
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=3,
            server_header=False, lifespan="on", proxy_headers=False,
        )  # fmt: skip
        with Beside() if worker else nullcontext():
            server = uvicorn.Server(config)
            told = threading.Thread(
                target=_tell, args=(server, ready, f"http://{named(host)}:{number}")
            )
            told.daemon = True
            told.start()
            signal.signal(signal.SIGTERM, _leave)
            gc.freeze()  # what is loaded stays; looking through it again and again costs answers
            server.run(sockets=[listening])


def named(host: str) -> str:
    """An address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _checked(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if canonical(name) is None:
            raise ServerRefused(
                f"--allow-host {name!r} is no name of a host: studio.example is, or "
                "studio.example:8420."
            )
    return names


@contextmanager
def only_server(data: Path) -> Iterator[None]:
    """Hold the data folder. Raises ServerRefused while another server does."""
    path = data / "server.lock"
    with telling_failures(path):
        data.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ServerRefused(
                f"Another studio already serves {data}. Use that one, or name another data folder "
                "with LORALOOM_HOME."
            ) from error
        yield


class Beside:
    """A worker as a child process, started again when it breaks down."""

    def __init__(self) -> None:
        self._leaving = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="worker")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Let it save and end."""
        self._leaving.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(LEAVE_S)
        if self._process is not None:
            self._process.kill()

    def _keep(self) -> None:
        while not self._leaving.is_set():
            command = [sys.executable, "-m", "loraloom", "worker"]
            self._process = subprocess.Popen(
                command, start_new_session=True, preexec_fn=tied_to_parent(signal.SIGTERM)
            )
            if self._leaving.is_set():  # between the two
                self._process.terminate()
            self._process.wait()
            self._leaving.wait(RESTART_S)


def _leave(number: int, frame: object) -> None:
    """uvicorn raises the signal that ended it once more; the worker is to be ended before."""
    raise SystemExit(0)


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, asyncio switches off Nagle's algorithm, which costs 40 ms an answer.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise ServerRefused(
            f"Port {port} of {host} cannot be used ({error.strerror}). Name another with --port."
        ) from error
    return made


def _tell(server: uvicorn.Server, ready: Callable[[str], None], url: str) -> None:
    while not server.started and not server.should_exit:
        time.sleep(0.02)
    if server.started:
        ready(url)
