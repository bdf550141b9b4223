"""Trainer, worker and server are killed at random moments, fifty times, while jobs run.

No job may be lost or run twice, every one finishes, and its files have the bytes of an undisturbed
run. `make chaos` runs it, with the seed of LORALOOM_CHAOS_SEED.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from tests import tiny

from loraloom.studio.job import State
from loraloom.studio.studio import Studio
from loraloom.train import recipe

KILLS = int(os.environ.get("LORALOOM_CHAOS_KILLS", "50"))
JOBS = 4
STEPS = 240
IN_A_ROW = 5
"""So often a job is ended before it may come to a checkpoint; after ten times it has failed."""


def artefacts(run: Path) -> dict[str, bytes]:
    """The files that a run leaves for its user."""
    found = [*run.glob("*.safetensors"), *run.glob("adapters/*.safetensors")]
    return {str(path.relative_to(run)): path.read_bytes() for path in found}


def start() -> subprocess.Popen[bytes]:
    """The studio, as its user starts it."""
    command = [sys.executable, "-m", "loraloom", "studio", "--port", "0", "--no-open"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet)


def victims(server: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    """Role -> process, of those that are there just now."""
    found = {"server": psutil.Process(server.pid)}
    for child in found["server"].children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.NoSuchProcess:
            continue
        for role in ("worker", "train"):
            if words[1:4] == ["-m", "loraloom", role]:
                found[role] = child
    return found


@pytest.mark.chaos
def test_fifty_kills_lose_nothing(
    studio: Studio, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so that all runs add in the same order
    seed = int(os.environ.get("LORALOOM_CHAOS_SEED", time.time_ns() % 10**6))
    print(f"LORALOOM_CHAOS_SEED={seed}")
    rng = random.Random(seed)
    pictures = tiny.save_pictures(tmp_path / "pictures")
    configs = [
        recipe.resolve(
            {
                "base": str(base), "seed": number, "data": {"folder": str(pictures)},
                "schedule": {"steps": STEPS}, "prior": {"images": 0},
                "checkpoint": {"every_steps": 10}, "validation": {"every_steps": 60},
            }
        )
        for number in range(JOBS)
    ]  # fmt: skip
    wanted = []
    for number, config in enumerate(configs):
        out = tmp_path / f"undisturbed{number}"
        settings = tmp_path / f"{number}.toml"
        settings.write_text(studio.jobs.add(config, f"job {number}").settings)
        command = [sys.executable, "-m", "loraloom", "train", str(settings), "--out", str(out)]
        subprocess.run(command, check=True)
        wanted.append(artefacts(out))
    assert all(wanted)

    server, killed = start(), Counter[str]()
    try:
        while sum(killed.values()) < KILLS:
            time.sleep(rng.uniform(0.2, 14.0))
            if server.poll() is not None:
                server = start()
                continue
            if max(job.losses for job in studio.jobs.all()) >= IN_A_ROW:
                continue
            there = victims(server)
            role = rng.choice(sorted(there))
            try:
                there[role].send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
            killed[role] += 1
            if role == "server":
                server.wait()
                server = start()
            if all(job.state is State.FINISHED for job in studio.jobs.all()):
                more = len(studio.jobs.all())
                studio.jobs.add(configs[more % JOBS], f"job {more}")
        deadline = time.monotonic() + 600
        while any(job.state is not State.FINISHED for job in studio.jobs.all()):
            assert time.monotonic() < deadline, [str(job) for job in studio.jobs.all()]
            time.sleep(0.5)
    finally:
        server.terminate()
        server.wait(200)
    print(f"killed {dict(killed)}; {len(studio.jobs.all())} jobs finished")
    for job in reversed(studio.jobs.all()):
        assert artefacts(job.run_folder) == wanted[(job.id - 1) % JOBS], job.name
        states = [e.body["state"] for e in studio.jobs.events(job.id, limit=10**6)
                  if e.body["event"] == "state"]  # fmt: skip
        assert states.count("finished") == 1
