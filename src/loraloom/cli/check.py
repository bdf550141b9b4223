"""`loraloom dataset check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import messages, print_json
from loraloom.kinds import Kind

if TYPE_CHECKING:
    from loraloom.dataset.readiness.check import Progress, Readiness

SHOWN = 8
"""Pictures named for each kind of finding; --json and --html have all."""
COLOURS = {"error": "red", "warning": "yellow", "hint": "cyan"}


def check(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="pictures with captions; subfolders: concepts")
    ],
    kind: Annotated[Kind, typer.Option(help="what is to be learnt")] = Kind.CHARACTER,
    base: Annotated[
        str, typer.Option(help="name or folder of the base model, or just its family")
    ] = "starter",
    trigger: Annotated[str, typer.Option(help="words that call what is learnt")] = "",
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a page with the pictures")
    ] = None,
) -> None:
    """Tell what is wrong with a set of pictures before it is trained on.

    Exit status 1 when something blocks training.

    \b
    loraloom dataset check my-pictures --kind character --base starter --trigger "ohwx woman"
    loraloom dataset check my-pictures --kind style --base sd15 --html report.html
    """
    from loraloom.dataset.readiness.check import check as check_folder
    from loraloom.findings import as_json, blocks_training

    with _bars(quiet=json) as progress:
        found = check_folder(folder, kind, base, trigger, progress=progress)
        if html:
            from loraloom.dataset.readiness.page import write_page

            write_page(html, found, progress)
    if json:
        print_json(as_json(found.findings))
    else:
        _show(found, html)
    if blocks_training(found.findings):
        raise typer.Exit(1)


def _show(found: Readiness, html: Path | None) -> None:
    """Findings by code, then what the set is made of, then one sentence."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    codes = dict.fromkeys(finding.code for finding in found.findings)
    for code in codes:
        members = [finding for finding in found.findings if finding.code == code]
        colour = COLOURS[members[0].severity]
        console.print(f"[{colour} bold]{code}[/] [dim]{len(members)}[/]")
        for finding in members[:SHOWN]:
            where = f"[bold]{escape(finding.item)}[/]: " if finding.item else ""
            console.print(f"  {where}{escape(finding.message)}")
        if len(members) > SHOWN:
            console.print(f"  [dim]… and {len(members) - SHOWN} more[/]")
        console.print(f"  [dim]→ {escape(members[0].fix)}[/]")
    for part in found.coverage:
        console.print(f"  {part.name:<24} {part.count:>4}  of {part.least} to {part.most}")
    counts = Counter(finding.severity.value for finding in found.findings)
    told = ", ".join(f"{counts[name]} {name}{'s' * (counts[name] != 1)}" for name in COLOURS)
    console.print(
        f"{len(found.pictures)} pictures for {escape(found.native.title)}: {told}; nothing wrong "
        f"with {found.spotless}." + (f" Look at {escape(str(html))}" if html else "")
    )


@contextmanager
def _bars(*, quiet: bool) -> Iterator[Progress]:
    """A bar for each stage, on standard error."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=messages, disable=quiet, transient=True
    ) as bars:
        stages: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done, total=total)

        told: Callable[[str, int, int], None] = show
        yield told
