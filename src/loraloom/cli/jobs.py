"""`loraloom jobs`: queue runs, look at them, steer them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import messages, print_json
from loraloom.cli.train import (
    Assignments,
    BaseName,
    KindName,
    PresetName,
    Trigger,
    chosen,
    complete,
    is_run,
    read_source,
)

if TYPE_CHECKING:
    from loraloom.studio.job import Job
    from loraloom.studio.jobs import Jobs

Number = Annotated[
    int, typer.Argument(metavar="JOB", help="its number in `jobs list`", min=1, max=2**31 - 1)
]
AsJson = Annotated[bool, typer.Option("--json", help="one line of JSON")]
Priority = Annotated[int, typer.Option(help="jobs of higher priority go first", min=-9, max=9)]

app = typer.Typer(no_args_is_help=True, help="Queue runs, look at them, steer them.")


@app.command()
def add(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG.toml|FOLDER|NAME[@SNAPSHOT]|RUN", help="as `loraloom train` takes it"
        ),
    ],
    base: BaseName = None,
    kind: KindName = None,
    trigger: Trigger = None,
    preset: PresetName = "standard",
    assignments: Assignments = None,
    name: Annotated[str | None, typer.Option(help="what to call it (else: the source)")] = None,
    priority: Priority = 0,
    json: AsJson = False,
) -> None:
    """Queue a run; `loraloom worker` takes it. It lies in the data folder: `jobs show` says where.

    \b
    loraloom jobs add my-pictures --kind character --trigger "ohwx woman"
    loraloom jobs add cups@3f2a91c0 --set adapter.rank=8 --priority 1
    """
    from loraloom.dataset.store import Store
    from loraloom.studio.anchored import anchored
    from loraloom.studio.datasets import Datasets

    options = chosen(base, kind, trigger)
    config = anchored(complete(read_source(source), options, assignments or [], preset))
    usual = source.resolve().name if is_run(source) else source.resolve().stem
    project = Datasets(Store()).project_of(config.model_dump())
    made = _jobs().add(config, name or usual, priority=priority, project=project)
    _tell_added(made, json=json)


@app.command("list")
def list_jobs(
    removed: Annotated[bool, typer.Option("--removed", help="those in the bin")] = False,
    json: AsJson = False,
) -> None:
    """Show every job, the newest first.

    \b
    loraloom jobs list
    loraloom jobs list --json
    """
    from loraloom.cli import jobs_view
    from loraloom.studio.described import as_tree

    found = _jobs().all(trashed=removed)
    if json:
        print_json([as_tree(job) for job in found])
    elif found:
        jobs_view.show_list(found)
    elif removed:
        messages.print("The bin holds no job.")
    else:
        messages.print("No job yet; `loraloom jobs add` queues one.")


@app.command()
def show(number: Number, json: AsJson = False) -> None:
    """Show one job: how far it is, where it lies, why it failed, what differs from its parent.

    \b
    loraloom jobs show 3
    """
    from loraloom.cli import jobs_view
    from loraloom.studio.described import as_tree, changed

    jobs = _jobs()
    job = jobs.get(number)
    parent = None if job.parent_id is None else jobs.get(job.parent_id)
    tree = as_tree(job) | {"changed": changed(parent, job)}
    if json:
        print_json(tree)
    else:
        jobs_view.show_job(tree)


@app.command()
def watch(
    number: Number,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON an event")] = False,
) -> None:
    """Follow a job until it ends or is paused; Ctrl-C ends the watching, not the job.

    Leaves with status 1 where the job failed or was cancelled.

    \b
    loraloom jobs watch 3
    """
    from loraloom.cli import jobs_view
    from loraloom.studio.job import State

    jobs = _jobs()
    with suppress(KeyboardInterrupt):
        jobs_view.follow(jobs, number, json=json)
    job = jobs.get(number)
    if not json:
        messages.print(jobs_view.sentence(job), markup=False, soft_wrap=True)
    if job.state in (State.FAILED, State.CANCELLED):
        raise typer.Exit(1)


@app.command()
def cancel(number: Number, json: AsJson = False) -> None:
    """Give a job up: at once if it waits, after the step at hand if it runs.

    \b
    loraloom jobs cancel 3
    """
    _steer(lambda jobs: jobs.cancel(number), json=json)


@app.command()
def stop(number: Number, json: AsJson = False) -> None:
    """End a running job after the step at hand and keep its adapter.

    \b
    loraloom jobs stop 3
    """
    _steer(lambda jobs: jobs.stop(number), json=json)


@app.command()
def pause(number: Number, json: AsJson = False) -> None:
    """Let a job wait until it is resumed; one that runs saves first.

    \b
    loraloom jobs pause 3
    """
    _steer(lambda jobs: jobs.pause(number), json=json)


@app.command()
def sample(number: Number, json: AsJson = False) -> None:
    """Let a run draw its samples after the step at hand, and go on.

    \b
    loraloom jobs sample 3
    """
    _steer(lambda jobs: jobs.sample(number), json=json)


@app.command()
def save(number: Number, json: AsJson = False) -> None:
    """Let a run write a checkpoint and its adapter after the step at hand, and go on.

    \b
    loraloom jobs save 3
    """
    _steer(lambda jobs: jobs.save(number), json=json)


@app.command()
def resume(number: Number, json: AsJson = False) -> None:
    """Take up a paused or failed job from its last checkpoint.

    \b
    loraloom jobs resume 3
    """
    _steer(lambda jobs: jobs.resume(number), json=json)


@app.command()
def retry(
    number: Number,
    assignments: Assignments = None,
    name: Annotated[str | None, typer.Option(help="what to call it (else: as before)")] = None,
    priority: Priority = 0,
    json: AsJson = False,
) -> None:
    """Queue a new job with the settings of an older one, some changed; it starts from the first
    step. `jobs show` tells the difference.

    \b
    loraloom jobs retry 3 --set optimiser.learning_rate=5e-5
    """
    import tomllib

    from loraloom.errors import JobRefused
    from loraloom.studio.anchored import anchored
    from loraloom.studio.job import Task

    jobs = _jobs()
    old = jobs.get(number)
    if old.task is not Task.TRAIN:
        raise JobRefused(f"Job {number} draws pictures; ask for them again in the playground.")
    config = anchored(complete(tomllib.loads(old.settings), {}, assignments or [], "standard"))
    called = name or old.name
    new = jobs.add(config, called, priority=priority, parent=old.id, project=old.project_id)
    _tell_added(new, json=json)


@app.command()
def keep(
    number: Number,
    step: Annotated[int, typer.Option(help="after which the adapter was written", min=0)],
    average: Annotated[bool, typer.Option(help="the average of the weights up to there")] = False,
    json: AsJson = False,
) -> None:
    """Take the adapter that a run kept after a step into the library. Again: the same one.

    \b
    loraloom jobs keep 3 --step 120
    """
    from loraloom.studio.database import open_database
    from loraloom.studio.library import Library

    kept = Library(open_database()).keep(_jobs().get(number), step, average=average)
    if json:
        print_json({"adapter": kept.id, "name": kept.name, "path": kept.path})
    else:
        messages.print(
            f"{kept.name} is adapter {kept.id} of the library: {kept.path}",
            markup=False, soft_wrap=True,
        )  # fmt: skip


@app.command()
def remove(
    numbers: Annotated[
        list[int],
        typer.Argument(metavar="JOB…", help="by number; ended ones", min=1, max=2**31 - 1),
    ],
    json: AsJson = False,
) -> None:
    """Put ended jobs into the bin for 30 days; `recover` takes them out. Adapters in the library
    stay.

    \b
    loraloom jobs remove 3 4 7
    """
    from loraloom.studio.described import as_tree

    thrown = _jobs().trash(numbers)
    if json:
        print_json([as_tree(job) for job in thrown])
    for job in [] if json else thrown:
        messages.print(
            f"Job {job.id} is in the bin. For 30 days: loraloom jobs recover {job.id}",
            markup=False, soft_wrap=True,
        )  # fmt: skip


@app.command()
def recover(number: Number, json: AsJson = False) -> None:
    """Take a removed job out of the bin.

    \b
    loraloom jobs recover 3
    """
    _steer(lambda jobs: jobs.restore(number), json=json)


@app.command()
def logs(number: Number, json: AsJson = False) -> None:
    """Print what the trainer of a job wrote, in all its attempts.

    \b
    loraloom jobs logs 3
    """
    from loraloom.cli.output import printable

    path = _jobs().get(number).folder / "log.txt"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if json:
        print_json({"job": number, "path": path, "log": text})
    elif text:
        typer.echo(printable(text), nl=False)
    else:
        messages.print(f"Job {number} has written nothing yet.")


def _jobs() -> Jobs:
    from loraloom.studio.database import open_database
    from loraloom.studio.jobs import Jobs

    return Jobs(open_database())


def _steer(ask: Callable[[Jobs], Job], *, json: bool) -> None:
    from loraloom.cli import jobs_view
    from loraloom.studio.described import as_tree

    job = ask(_jobs())
    if json:
        print_json(as_tree(job))
    else:
        messages.print(jobs_view.sentence(job), markup=False, soft_wrap=True)


def _tell_added(job: Job, *, json: bool) -> None:
    from loraloom.studio.described import as_tree

    if json:
        print_json(as_tree(job))
    else:
        messages.print(
            f"Job {job.id} ({job.name}) is queued. `loraloom worker` runs it; `loraloom jobs watch "
            f"{job.id}` shows how far it is.",
            markup=False, soft_wrap=True,
        )  # fmt: skip
