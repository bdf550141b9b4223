"""`loraloom worker`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from loraloom.cli.output import STOPPED, messages, print_json
from loraloom.errors import JobRefused


def worker(
    once: Annotated[
        bool, typer.Option("--once", help="leave when no job is queued or running any more")
    ] = False,
    slots: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="jobs at a time (else: one a GPU, or one on the CPU)"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON a message")] = False,
) -> None:
    """Run queued jobs, each in a process of its own. Several workers may share one data folder.

    Ctrl-C lets every job save after the step at hand and puts it back into the queue.

    \b
    loraloom worker
    loraloom worker --once --slots 2
    """
    if sys.platform == "win32":
        raise JobRefused("A worker needs Linux or macOS; `loraloom train` runs on Windows too.")
    from loraloom.studio import slot
    from loraloom.studio.database import open_database
    from loraloom.studio.worker import Worker

    def tell(number: int | None, sentence: str) -> None:
        if json:
            print_json({"job": number, "message": sentence})
        else:
            subject = "" if number is None else f"job {number}: "
            messages.print(f"{subject}{sentence}", markup=False, soft_wrap=True)

    found = slot.gpus()
    count = slots or len(found) or 1
    gpus = [found[number % len(found)] if found else None for number in range(count)]
    if not json:
        where = f"on GPU {', '.join(found)}" if found else "on the CPU"
        messages.print(f"Ready for {count} job{'s'[: count > 1]} at a time, {where}.")
    try:
        Worker(open_database(), gpus, tell).run(once=once)
    except KeyboardInterrupt:
        raise typer.Exit(STOPPED) from None
