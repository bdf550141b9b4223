"""`loraloom bases`, `bases add` and `bases remove`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Literal

import typer
from rich.table import Table

from loraloom.cli.output import messages, print_json

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
    source: Annotated[
        str,
        typer.Argument(help="OWNER/NAME on the hub, a diffusers folder, or a .safetensors file"),
    ],
    name: Annotated[
        str | None, typer.Option(help="what to call it; none: as the source is called")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="branch, tag or commit on the hub; none: main")
    ] = None,
    prediction: Annotated[
        Prediction | None,
        typer.Option(help="what the model predicts, for a file that does not tell"),
    ] = None,
) -> None:
    """Take in a base model, by which it is known by its name.

    From the hub a diffusers folder is fetched: what the family needs of it, to ~/.loraloom/bases
    (or LORALOOM_HOME). After Ctrl-C the same command goes on. For a gated model accept its licence
    on its page and set HF_TOKEN.

    A diffusers folder is linked and stays where it is. A single checkpoint file, of Stable
    Diffusion 1.x, 2.x, SDXL and their fine-tunes, is written as a diffusers folder; the file
    itself is not needed any more.

    \b
    loraloom bases add stabilityai/stable-diffusion-xl-base-1.0
    loraloom bases add black-forest-labs/FLUX.1-dev --name flux --revision main
    loraloom bases add /models/Qwen-Image
    loraloom bases add ponyDiffusionV6XL.safetensors
    loraloom bases add v2-1_768-ema-pruned.safetensors --prediction v_prediction
    """
    from loraloom.bases import adding
    from loraloom.config_tree import as_model

    tree = {"source": source, "name": name, "revision": revision, "prediction": prediction}
    wish = as_model(adding.Wish, tree, "This cannot be a base")
    kind = adding.kind_of(wish)
    with _bar() if kind == "hub" else _waiting(source) as progress:
        try:
            added, what = adding.add(wish, progress)
        except KeyboardInterrupt:
            if kind == "hub":
                messages.print("Stopped; the same command goes on where it was.")
            raise
    messages.print(f"{added}: {what}", markup=False)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="as `loraloom bases` lists it")],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Take a base away; of a folder that was linked only the link, not its files.

    \b
    loraloom bases remove FLUX.1-dev
    """
    from loraloom.bases import place
    from loraloom.settings import linked_folder

    if not yes:
        folder = linked_folder(name)
        stays = f" It is a link; {folder} stays." if folder else " Runs that name it need it."
        stays += " Jobs of a studio are not looked at."
        typer.confirm(f"Remove the base {name}?{stays}", abort=True, err=True)
    place.remove(name)
    messages.print(f"{name} is removed.", markup=False)


@contextmanager
def _waiting(source: str) -> Iterator[Callable[[int, int], None]]:
    with messages.status(f"Taking in {source}"):
        yield lambda done, total: None


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes, on standard error; yields what is told how much is there of how much."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(
        *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=messages, transient=True
    ) as bars:
        task = bars.add_task("Fetching", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
