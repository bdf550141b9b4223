"""Jobs as tables, sentences and JSON."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from loraloom.cli.output import messages, print_json, printable
from loraloom.config import Tree
from loraloom.studio.job import ENDED, HELD, Job, Request, State, Task
from loraloom.studio.jobs import Jobs
from loraloom.train.events import Event, from_tree

LOOK_S = 0.5
_COLOURS = {State.FINISHED: "green", State.FAILED: "red", State.TRAINING: "cyan"}


def show_list(jobs: list[Job]) -> None:
    """A table; what went wrong stands in a line below it."""
    table = Table(
        "job", "task", "state", "name", "base", "steps", "added", box=None, header_style="bold"
    )
    for job in jobs:
        table.add_row(
            str(job.id), job.task, f"[{_COLOURS.get(job.state, 'default')}]{_state(job)}[/]",
            printable(job.name), tomllib.loads(job.settings)["base"].rpartition("/")[2],
            f"{job.step}/{job.steps}", _ago(time.time() - job.created_at),
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    for job in jobs:
        if job.message:
            console.print(f"job {job.id}: {printable(job.message)}", markup=False, soft_wrap=True)


def show_job(tree: Tree) -> None:
    """Name and value of all that is known, a line each."""
    console = Console(highlight=False)
    for name, value in tree.items():
        if value not in (None, "", {}):
            text = _differences(value) if name == "changed" else printable(str(value))
            console.print(f"{name + ':':<10} {text}", markup=False, soft_wrap=True)


def sentence(job: Job) -> str:
    """How a job stands."""
    match job.state:
        case State.FAILED:
            said = f"failed ({job.reason}): {printable(job.message)}"
        case State.FINISHED:
            made = job.run_folder / ("adapter.safetensors" if job.task is Task.TRAIN else "")
            said = f"finished: {made}"
        case State.PAUSED:
            said = f"is paused; `loraloom jobs resume {job.id}` lets it go on"
        case State.CANCELLED:
            said = "was cancelled"
        case _:
            said = f"is {_state(job)}, {job.step} of {job.steps} steps"
    return f"Job {job.id} {said}"


def follow(jobs: Jobs, number: int, *, json: bool) -> None:
    """Show what happens as it happens, until the job ends or is paused."""
    if json:
        for body in _bodies(jobs, number):
            print_json(body)
        return
    from loraloom.cli.progress import show_events

    job = jobs.get(number)
    if job.state is State.QUEUED:
        messages.print(f"Job {number} waits for a worker (`loraloom worker`).")
    show_events(_events(jobs, number))


def _events(jobs: Jobs, number: int) -> Iterator[Event]:
    for body in _bodies(jobs, number):
        event = from_tree(body)
        if event is not None:
            yield event


def _bodies(jobs: Jobs, number: int) -> Iterator[Mapping[str, Any]]:
    after = 0
    while True:
        job = jobs.get(number)  # before the events: none comes after its end
        found = jobs.events(number, after=after)
        for event in found:
            after = event.id
            yield event.body
        if not found and job.state in ENDED | {State.PAUSED}:
            return
        if not found:
            time.sleep(LOOK_S)


def _state(job: Job) -> str:
    asked = {Request.CANCEL: "cancelling", Request.PAUSE: "pausing", Request.STOP: "stopping"}
    return asked.get(job.request, job.state) if job.state in HELD else job.state


def _differences(changes: Mapping[str, list[Any]]) -> str:
    return ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changes.items())


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return "just now"
