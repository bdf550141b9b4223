"""`loraloom demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import STOPPED, command_line, messages, print_json

if TYPE_CHECKING:
    from loraloom.starter.demo import DemoFinished


def demo(
    out: Annotated[Path, typer.Option(help="folder for all that the demonstration writes")] = Path(
        "out/demo"
    ),
    subject: Annotated[str, typer.Option(help="whom to train: Mira, Bram or Noor")] = "Mira",
    json: Annotated[bool, typer.Option("--json", help="print report.json at the end")] = False,
) -> None:
    """Train a character on the embedded base, generate it in new contexts and judge the result.

    Needs no network and no GPU; takes a few minutes.

    \b
    loraloom demo --out out/demo
    loraloom demo --subject Bram --out out/bram
    """
    from loraloom.cli.progress import asked_to_stop, show_events
    from loraloom.starter import demo as demonstration

    identity = demonstration.character(subject)
    try:
        last = show_events(demonstration.run(out, identity, stop=asked_to_stop()))
    except KeyboardInterrupt:
        messages.print(f"Stopped. To begin again: {command_line()}")
        raise typer.Exit(STOPPED) from None
    assert isinstance(last, demonstration.DemoFinished)
    if json:
        print_json(demonstration.read_report(out))
        return
    _summarise(last)


def _summarise(done: DemoFinished) -> None:
    from rich.console import Console
    from rich.table import Table

    from loraloom.starter.verdict import metrics

    table = Table("", "measured", "target", "")
    for metric in metrics(done.scores):
        mark = "[green]ok[/]" if metric.ok else "[red]missed[/]"
        table.add_row(metric.name, metric.value, metric.target, mark)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{done.verdict} {done.seconds:.0f} s. Look at {done.out / 'report.html'}")
    console.print(f"Next: {done.next_step}", markup=False)
