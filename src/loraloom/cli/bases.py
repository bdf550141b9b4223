"""`loraloom bases` and `loraloom bases add`."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from loraloom.cli.output import messages, print_json
from loraloom.files import telling_failures

Prediction = Literal["epsilon", "v_prediction"]


app = typer.Typer()


@app.callback(invoke_without_command=True)
def bases(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """List the base models that are known by name; any other is given by its folder.

    \b
    loraloom bases
    loraloom bases --json
    """
    if context.invoked_subcommand:
        return
    from loraloom.families.installed import installed

    found = installed()
    if json:
        print_json([asdict(base) for base in found])
        return
    from rich.console import Console

    table = Table("name", "title", "family", "px", "licence", box=None, header_style="bold")
    for base in found:
        table.add_row(base.name, base.title, base.family, str(base.native_px), base.licence)
    Console().print(table)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a .safetensors checkpoint")],
    name: Annotated[
        str | None, typer.Option(help="what to call it; none: the file's own name")
    ] = None,
    prediction: Annotated[
        Prediction | None,
        typer.Option(help="what the model predicts, for a file that does not tell"),
    ] = None,
) -> None:
    """Take in a single checkpoint file: Stable Diffusion 1.x, 2.x, SDXL and their fine-tunes.

    Its parts are written as a diffusers folder under ~/.loraloom/bases (or LORALOOM_HOME); the
    file itself is not needed any more.

    \b
    loraloom bases add ponyDiffusionV6XL.safetensors
    loraloom bases add v2-1_768-ema-pruned.safetensors --prediction v_prediction
    """
    from loraloom.families import checkpoint
    from loraloom.settings import STARTER, data_folder

    chosen = name or file.stem
    if not re.fullmatch(r"[\w][\w .+-]*", chosen) or chosen == STARTER:
        raise typer.BadParameter(
            f"--name {chosen!r}: letters, digits, spaces and . + - _ are accepted, and not "
            f"{STARTER!r}"
        )
    folder = data_folder() / "bases" / chosen
    with telling_failures(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with messages.status(f"Taking {file.name} apart"):
        info = checkpoint.unpack(file, folder, prediction)
    messages.print(f"{chosen}: {info.title}, in {folder}")
