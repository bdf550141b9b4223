"""A PostgreSQL of our own for tests: a temporary folder, a free port, an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PATIENCE_S = 120


def programs() -> Path:
    """The folder of initdb and postgres; skips where they are not installed."""
    found = shutil.which("postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found is None and not debian:
        pytest.skip("postgres is not installed (apt-get install postgresql)")
    return (Path(found) if found else debian[-1]).resolve().parent


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of an empty database; `folder` must be one that any user may enter."""
    bin_folder, data = programs(), folder / "data"
    user = _unprivileged()
    data.mkdir()
    if user is not None:
        shutil.chown(data, user)
    common = {"user": user, "cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    init = [bin_folder / "initdb", "-D", data, "-U", "loraloom", "--auth=trust", "--no-sync"]
    subprocess.run(list(map(str, init)), check=True, timeout=PATIENCE_S, **common)  # type: ignore[call-overload]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [bin_folder / "postgres", "-D", data, "-p", port, "-k", data, "-h", "127.0.0.1", "-F"]
    server = subprocess.Popen(list(map(str, start)), **common)  # type: ignore[call-overload]
    try:
        ready = [bin_folder / "pg_isready", "-h", "127.0.0.1", "-p", port, "-t", PATIENCE_S]
        for _ in range(PATIENCE_S * 5):
            if subprocess.run(list(map(str, ready)), **common).returncode == 0:  # type: ignore[call-overload]
                break
            if server.poll() is not None:
                raise RuntimeError(f"postgres ended with status {server.returncode}")
        yield f"postgresql://loraloom@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)


def _unprivileged() -> str | None:
    """PostgreSQL refuses to run as root; None: as whoever runs the tests."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
