"""A data folder as it is after years of use, for bench.studio."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update

from bench.import_speed import draw
from loraloom.config_tree import to_toml
from loraloom.dataset.readiness.stored import Report
from loraloom.dataset.snapshot import Contents, Picture
from loraloom.findings import Finding, Severity
from loraloom.kinds import Kind
from loraloom.studio import example
from loraloom.studio.job import Reason, State
from loraloom.studio.library import Library
from loraloom.studio.rows import added
from loraloom.studio.studio import Studio
from loraloom.studio.tables import adapters, events, jobs
from loraloom.train import recipe

DATASET = "many"
WORDS = (
    "front view", "from behind", "smile", "calm", "red coat", "white shirt", "beach", "forest",
    "city street", "studio lighting", "natural lighting", "close-up", "full body", "looking away",
)  # fmt: skip


def fill(studio: Studio, pictures: int, runs: int, of_library: int) -> None:
    """A dataset, jobs with what a real run told, and adapters that are its file."""
    many_pictures(studio, pictures)
    numbers, file = many_jobs(studio, runs)
    many_adapters(studio, numbers, file, of_library)


def many_pictures(studio: Studio, count: int) -> None:
    """Small pictures with captions, three versions, and a report of a check.

    They lie as an import leaves them, but are not brought to the disk one by one.
    """
    chance = random.Random(0)
    stored = studio.datasets.create(DATASET)
    made = []
    for number, data in enumerate(draw(count, 32)):
        sha256 = hashlib.sha256(data).hexdigest()
        path = stored.objects.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        kind = "JPEG" if number % 2 else "PNG"
        caption = ", ".join(["ohwx woman", *chance.sample(WORDS, 6)]) if number % 10 else ""
        made.append(Picture(sha256, caption, "main", f"{number:05d}.{kind.lower()}", 32, 32, kind))
    for share in (2, 4, 1):
        stored.edit(lambda _, to=count // share: Contents(tuple(made[:to])), "imported")
        stored.snapshot(f"1/{share} of all")
    report = _report(stored.working)
    (stored.root / "checks").mkdir()
    base = hashlib.sha256(report.base.encode()).hexdigest()[:16]
    place = stored.root / "checks" / f"{report.kind}-{base}.json"
    place.write_text(json.dumps(asdict(report)))


def _report(contents: Contents) -> Report:
    findings = tuple(
        Finding("blur", Severity.WARNING, p.name, "is blurred", 12.0, 30.0, "take it out")
        for p in contents.pictures[::5]
    )
    shas = {picture.name: picture.sha256 for picture in contents.pictures}
    count = len(contents.pictures)
    return Report(
        contents.hash, Kind.CHARACTER, "starter", "the starter base", 128, time.time(), count,
        count - len(findings), (), findings, shas,
    )  # fmt: skip


def one_run(studio: Studio, steps: int) -> tuple[str, list[dict[str, Any]], Path]:
    """A short real run of the example: its settings, what it told, and its folder."""
    example.add_example(studio)
    tree = {"data": {"folder": example.SUBJECT.name}, "schedule": {"steps": steps}}
    settings = to_toml(recipe.resolve(tree, preset="beginner"))
    folder = Path(tempfile.mkdtemp(prefix="loraloom-bench-"))
    (folder / "settings.toml").write_text(settings)
    command = [sys.executable, "-m", "loraloom", "train", str(folder / "settings.toml")]
    told = subprocess.run(
        [*command, "--out", str(folder / "run"), "--json"], check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, "LORALOOM_HOME": str(studio.data)},
    )  # fmt: skip
    return settings, [json.loads(line) for line in told.stdout.splitlines()], folder / "run"


def many_jobs(studio: Studio, count: int) -> tuple[list[int], Path]:
    """Jobs that have ended, most of them well; the numbers of those, and the adapter's file.

    The newest has the folder of the run.
    """
    settings, told, run = one_run(studio, 100)
    now, finished = time.time(), []
    with studio.database.writing() as connection:
        for number in range(count):
            is_good = number % 10 != 9 or number == count - 1
            job = added(
                connection, name=f"run {number}", settings=settings, steps=100,
                created_at=now - (count - number) * 3600.0,
            )  # fmt: skip
            connection.execute(
                update(jobs).where(jobs.c.id == job.id).values(
                    state=State.FINISHED if is_good else State.FAILED,
                    reason=Reason.NONE if is_good else Reason.MEMORY,
                    message="" if is_good else "The device has too little memory.",
                    step=100, attempt=1, worker="bench", started_at=job.created_at + 5,
                    ended_at=job.created_at + 600,
                )
            )  # fmt: skip
            rows = [
                {"job_id": job.id, "attempt": 1, "at": job.created_at + 5 + place,
                 "name": body["event"], "body": json.dumps(body)}
                for place, body in enumerate(told)
            ]  # fmt: skip
            connection.execute(insert(events), rows)
            finished += [job.id] if is_good else []
    newest = studio.jobs.get(finished[-1])
    shutil.copytree(run, newest.run_folder)
    shutil.rmtree(run.parent)
    return finished, newest.run_folder / "adapter.safetensors"


def many_adapters(studio: Studio, numbers: list[int], file: Path, count: int) -> None:
    """One of each finished job and others without, all with the same file."""
    newest = studio.jobs.get(numbers[-1])
    Library(studio.database)._take_in(newest)
    first = studio.library.of_job(newest.id)
    assert first is not None
    others = iter(numbers[:-1])
    with studio.database.writing() as connection:
        row = dict(connection.execute(select(adapters)).one()._mapping)
        del row["id"]
        rows = [
            {**row, "token": secrets.token_hex(4), "name": f"adapter {number}", "parent_id": None,
             "sha256": hashlib.sha256(str(number).encode()).hexdigest(),
             "job_id": next(others, None), "starred": number % 50 == 0,
             "tags": json.dumps([("anime", "photo", "portrait")[number % 3]])}
            for number in range(count - 1)
        ]  # fmt: skip
        connection.execute(insert(adapters), rows)
    for adapter in studio.library.page(limit=count):
        if not adapter.path.exists():
            adapter.folder.mkdir(parents=True, exist_ok=True)
            os.link(file, adapter.path)


def training(studio: Studio, steps: int) -> int:
    """Queue a run of the example; its number."""
    tree = {"data": {"folder": example.SUBJECT.name}, "schedule": {"steps": steps}}
    config = recipe.resolve(tree, preset="beginner")
    return studio.jobs.add(config, "the bench's own").id
