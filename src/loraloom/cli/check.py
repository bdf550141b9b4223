"""`loraloom dataset check`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import print_json, printable
from loraloom.kinds import Kind

if TYPE_CHECKING:
    from loraloom.dataset.readiness.check import Readiness
    from loraloom.findings import Finding

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
    from loraloom.cli.bars import staged
    from loraloom.dataset.readiness.check import check as check_folder
    from loraloom.findings import as_json, blocks_training

    with staged(quiet=json) as progress:
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

    def fix(finding: Finding) -> str:
        return f" [dim]→ {escape(printable(finding.fix))}[/]"

    console = Console(highlight=False)
    codes = dict.fromkeys(finding.code for finding in found.findings)
    for code in codes:
        members = [finding for finding in found.findings if finding.code == code]
        colour = COLOURS[members[0].severity]
        one_fix = len({finding.fix for finding in members}) == 1
        console.print(f"[{colour} bold]{code}[/] [dim]{len(members)}[/]")
        for finding in members[:SHOWN]:
            where = f"[bold]{escape(printable(finding.item))}[/]: " if finding.item else ""
            end = "" if one_fix else fix(finding)
            console.print(f"  {where}{escape(printable(finding.message))}{end}")
        if len(members) > SHOWN:
            console.print(f"  [dim]… and {len(members) - SHOWN} more[/]")
        if one_fix:
            console.print(f" {fix(members[0])}")
    for part in found.coverage:
        console.print(f"  {part.name:<24} {part.count:>4}  of {part.least} to {part.most}")
    counts = Counter(finding.severity.value for finding in found.findings)
    told = ", ".join(f"{counts[name]} {name}{'s' * (counts[name] != 1)}" for name in COLOURS)
    console.print(
        f"{len(found.pictures)} pictures for {escape(found.native.title)}: {told}; nothing wrong "
        f"with {found.spotless}." + (f" Look at {escape(str(html))}" if html else "")
    )
