"""The command line: one file a command, each calling functions that anyone may import.

Heavy libraries are imported inside the commands, so that `--help` and `bases` answer at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import typer

from loraloom.cli import (
    adapter,
    bases,
    caption,
    dataset,
    demo,
    generate,
    jobs,
    people,
    plan,
    projects,
    studio,
    train,
    worker,
)
from loraloom.cli.output import printable
from loraloom.errors import LoraloomError

# The libraries' own bars and advice would be mixed into ours; a setting of the user's wins.
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}

app = typer.Typer(
    help="From a folder of captioned pictures to a tested, documented LoRA.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(studio.studio)
app.command()(demo.demo)
app.command()(train.train)
app.command()(plan.plan)
app.command()(generate.generate)
app.command()(worker.worker)
app.add_typer(bases.app, name="bases")
app.add_typer(adapter.app, name="adapter")
app.add_typer(caption.app, name="caption")
app.add_typer(dataset.app, name="dataset")
app.add_typer(jobs.app, name="jobs")
app.add_typer(people.app, name="people")
app.add_typer(projects.app, name="projects")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 an error the user can fix, 2 wrong usage, 130 Ctrl-C."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells what a CPU lacks
    try:
        app(args=arguments, prog_name="loraloom")
    except LoraloomError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(1)
