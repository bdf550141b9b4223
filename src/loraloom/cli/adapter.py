"""`loraloom adapter inspect` and `loraloom adapter convert`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from loraloom.cli.output import messages, print_json
from loraloom.errors import OutputExists

app = typer.Typer(help="Look into adapter files and convert them.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(metavar="FILE", help="a .safetensors adapter file")]
Layout = Literal["kohya", "diffusers", "comfyui"]


@app.command()
def inspect(
    file: File, json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False
) -> None:
    """Say what an adapter file holds.

    \b
    loraloom adapter inspect out/mine/adapter.safetensors
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from loraloom.adapters import file as adapter_file

    found = asdict(adapter_file.inspect(file))
    if json:
        print_json(found)
        return
    metadata = found.pop("metadata")
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), Text(_plain(value)))
    for name, value in sorted(metadata.items()):
        table.add_row(Text(name, style="dim"), Text(_plain(value)))
    Console().print(table)


@app.command()
def convert(
    file: File,
    to: Annotated[Layout, typer.Option(help="docs/families.md tells who reads which")],
    out: Annotated[Path, typer.Option(help="file to write; must not exist")],
) -> None:
    """Write an adapter in another program's key layout.

    \b
    loraloom adapter convert mine.safetensors --to diffusers --out mine-diffusers.safetensors
    """
    from loraloom.adapters import file as adapter_file

    if out.exists():
        raise OutputExists(f"{out} exists already; name another file or remove it")
    state, metadata = adapter_file.read(file)
    adapter_file.write(out, state, to, metadata)
    messages.print(f"Wrote {out}")


def _plain(value: object) -> str:
    """A value in words, without control characters, cut where it would fill the screen."""
    match value:
        case None:
            text = "–"
        case dict():
            text = ", ".join(f"{name} {number}" for name, number in value.items())
        case tuple() | list():
            text = ", ".join(map(str, value))
        case _:
            text = str(value)
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= 300 else f"{text[:300]} … ({len(text):,} characters)"
