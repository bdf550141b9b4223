"""The studio as its user has it: a server process, its worker, and a browser."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
"""So that Chromium asks nobody but the studio."""


@contextmanager
def running(home: Path, *options: str) -> Iterator[str]:
    """`loraloom studio` on a free port; its address."""
    command = [sys.executable, "-u", "-m", "loraloom", "studio", "--port", "0", "--no-open"]
    process = subprocess.Popen(
        [*command, *options],
        env={**os.environ, "LORALOOM_HOME": str(home), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "http://" in line, line + process.stderr.read()
        yield "http://" + line.partition("http://")[2].split()[0].rstrip(".")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; skips where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield started
        started.close()


def until(condition: object, seconds: float = 60.0) -> None:
    """Wait until `condition()` holds; fails after so long."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)
