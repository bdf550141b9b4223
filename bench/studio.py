"""How quick the studio is with much in it, and what it costs a training to be watched.

    python -m bench.studio
    python -m bench.studio --keep /tmp/studio-bench      # filled once, used again

Fills a data folder, starts the real server on it, and asks pages and routes over one connection:
milliseconds to the whole answer. Then a training runs, watched by 50 listeners every other quarter
of a minute: the same run with and without them, so that what else the machine does counts for both.
Where that is so much that it hides what listeners cost, the server's processor time tells it:
what it takes more while it is watched, as a share of all cores, which the training would have had.
"""

from __future__ import annotations

import argparse
import http.client
import os
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

WINDOW_S = 15.0
SETTLE_S = 3.0
"""Cut off the beginning of each window: steps are told with a delay."""
TOO_SLOW_MS = 200.0


@dataclass(frozen=True)
class Timing:
    """One address, asked many times."""

    path: str
    kib: float
    cpu_ms: float
    """Of the server's processor time; what else the machine does hardly counts."""
    p50_ms: float
    p95_ms: float


@dataclass
class Server:
    """The process and its port."""

    process: subprocess.Popen[str]
    port: int
    start_s: float

    @property
    def cpu_s(self) -> float:
        """Processor time that it took so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    @property
    def rss_mib(self) -> float:
        """Memory of the process that answers, without worker and decoders."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)


@contextmanager
def served(home: Path, *options: str) -> Iterator[Server]:
    """`loraloom studio` on a free port, until the end."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "loraloom", "studio", "--port", "0", "--no-open", *options],
        env={**os.environ, "LORALOOM_HOME": str(home), "COLUMNS": "200"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        port = line.partition("http://")[2].split()[0].rstrip(".").rpartition(":")[2]
        yield Server(process, int(port), time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=180)


def ask(server: Server, paths: Sequence[str], times: int) -> list[Timing]:
    """Each address so many times, after once that is not counted."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    process = psutil.Process(server.process.pid)
    timings = []
    for path in paths:
        size = len(_body(connection, path))
        before, took = process.cpu_times(), []
        for _ in range(times):
            began = time.perf_counter()
            _body(connection, path)
            took.append((time.perf_counter() - began) * 1000)
        after = process.cpu_times()
        cpu_s = after.user + after.system - before.user - before.system
        p95_ms = statistics.quantiles(took, n=20)[18]
        print(f"{path}: {statistics.median(took):.0f} ms", file=sys.stderr)
        timings.append(
            Timing(path, size / 1024, cpu_s * 1000 / times, statistics.median(took), p95_ms)
        )
    connection.close()
    return timings


def _body(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path} answered {answer.status}: {body[:500]!r}")
    return body


class Listeners:
    """Open event streams that read and forget."""

    def __init__(self, port: int, count: int) -> None:
        self.bytes = 0
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            opened = socket.create_connection(("127.0.0.1", port))
            host = f"127.0.0.1:{port}"
            opened.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            self._selector.register(opened, selectors.EVENT_READ)
        self._open = True
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        self._open = False
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _read(self) -> None:
        while self._open:
            for key, _ in self._selector.select(0.2):
                assert isinstance(key.fileobj, socket.socket)
                self.bytes += len(key.fileobj.recv(1 << 16))


def paths(picture: str, job: int, adapter: int, name: str) -> tuple[list[str], list[str]]:
    """Pages, and routes of the API."""
    root, api = f"/datasets/{name}", "/api/v1"
    pages = [
        "/", "/datasets", root, f"{root}?q=beach+smile", f"{root}?finding=blur",
        f"{root}?after={picture}", f"{root}/images/{picture}", f"{root}/captions",
        f"{root}/checks", f"{root}/versions", "/train", "/train?q=portrait+7",
        f"{root}/images/{picture}?history=1", f"/train/new?dataset={name}",
        f"/train/{job}", f"/compare?a={job}&b={job - 1}", "/adapters", "/adapters?q=portrait",
        f"/adapters/{adapter}", "/play", "/grid", "/settings", "/guide",
    ]  # fmt: skip
    routes = [
        "/health", "/datasets", f"/datasets/{name}", f"/datasets/{name}/pictures",
        f"/datasets/{name}/pictures/{picture}", f"/datasets/{name}/thumbs/{picture}",
        f"/datasets/{name}/checks", "/jobs", f"/jobs/{job}", f"/jobs/{job}/events",
        f"/jobs/{job}/curves", "/adapters", f"/adapters/{adapter}", "/bases", "/pictures",
    ]  # fmt: skip
    return pages, [api + route for route in routes]


def watched(
    server: Server, count: int, minutes: float, paths: Sequence[str], times: int
) -> tuple[float, float, float, int, list[Timing]]:
    """Median seconds a step of one run without and with listeners, the share of all cores that the
    server takes more with them, and how many steps were counted.

    And how quick the addresses are while it runs and is watched.
    """
    from bench import studio_data
    from loraloom.studio.job import ENDED, State
    from loraloom.studio.studio import open_studio

    studio = open_studio()
    for left in studio.jobs.all():  # of a measurement that was broken off
        if left.state not in ENDED:
            studio.jobs.cancel(left.id)
    number = studio_data.training(studio, 20_000)
    while studio.jobs.get(number).state is not State.TRAINING:
        time.sleep(0.5)
    windows: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    taken: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(max(2, round(minutes * 60 / WINDOW_S))):
        is_watched = turn % 4 in (1, 2)  # a drift counts for both
        listeners = Listeners(server.port, count) if is_watched else None
        began, before_s = time.time(), server.cpu_s
        time.sleep(WINDOW_S)
        windows[is_watched].append((began + SETTLE_S, time.time()))
        taken[is_watched].append((server.cpu_s - before_s) / WINDOW_S / (os.cpu_count() or 1))
        if listeners:
            listeners.close()
    listeners = Listeners(server.port, count)
    timings = ask(server, paths, times)
    listeners.close()
    steps = studio.jobs.events(number, names=("step",), limit=100_000)
    seconds = {
        key: [e.body["seconds"] for e in steps if any(a <= e.at <= b for a, b in spans)]
        for key, spans in windows.items()
    }
    studio.jobs.cancel(number)
    studio.database.close()
    return (
        statistics.median(seconds[False]), statistics.median(seconds[True]),
        statistics.median(taken[True]) - statistics.median(taken[False]),
        len(seconds[False]) + len(seconds[True]), timings,
    )  # fmt: skip


def table(title: str, timings: Sequence[Timing], watched: Sequence[Timing] = ()) -> None:
    """As Markdown, the slowest first."""
    more = {one.path: one for one in watched}
    heads = " | watched p50 | watched p95" if more else ""
    print(f"\n| {title} | KiB | CPU ms | p50 ms | p95 ms{heads} |")
    print("|---|---|---|---|---" + "|---|---" * bool(more) + "|")
    for one in sorted(timings, key=lambda one: -one.p95_ms):
        then = more.get(one.path)
        end = f" | {then.p50_ms:.0f} | {then.p95_ms:.0f}" if then else ""
        flag = " !" if one.p95_ms > TOO_SLOW_MS else ""
        figures = f"{one.kib:.0f} | {one.cpu_ms:.0f} | {one.p50_ms:.0f} | {one.p95_ms:.0f}"
        print(f"| `{one.path[:60]}` | {figures}{flag}{end} |")


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--adapters", type=int, default=2000)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--listeners", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=4.0, help="of the training")
    parser.add_argument("--pages-only", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder to fill once")
    given = parser.parse_args()
    home = given.keep or Path(tempfile.mkdtemp(prefix="loraloom-bench-"))
    os.environ["LORALOOM_HOME"] = str(home)
    try:
        measure(home, given)
    finally:
        if not given.keep:
            shutil.rmtree(home, ignore_errors=True)


def measure(home: Path, given: argparse.Namespace) -> None:
    """All of it."""
    from bench import studio_data
    from loraloom.studio.studio import open_studio

    studio = open_studio()
    if not studio.datasets.has(studio_data.DATASET):
        began = time.perf_counter()
        studio_data.fill(studio, given.pictures, given.jobs, given.adapters)
        print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    picture = studio.datasets.open(studio_data.DATASET).working.pictures[given.pictures // 2]
    newest = next(a for a in studio.library.page(limit=given.adapters) if a.name.startswith("run"))
    assert newest.job_id is not None
    pages, routes = paths(picture.sha256, newest.job_id, newest.id, studio_data.DATASET)
    studio.database.close()
    with served(home) as server:
        before = server.rss_mib
        timings = ask(server, [*pages, *routes], given.times)
        after = server.rss_mib
        then: list[Timing] = []
        if not given.pages_only:
            plain, busy, share, count, then = watched(
                server, given.listeners, given.minutes, [*pages, *routes], given.times
            )
            print(
                f"{plain:.3f} s a step alone, {busy:.3f} s with {given.listeners} listeners: "
                f"x {busy / plain:.3f} ({count:,} steps); they cost the server {share:.2%} of all "
                f"cores; memory {server.rss_mib:.0f} MiB"
            )
        table("page", timings[: len(pages)], then)
        table("route", timings[len(pages) :], then)
        print(f"\nstart {server.start_s:.1f} s; memory {before:.0f} MiB at first, {after:.0f} MiB")


if __name__ == "__main__":
    main()
