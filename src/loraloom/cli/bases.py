"""`loraloom bases`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from loraloom.cli.output import print_json


@dataclass(frozen=True)
class Base:
    """One base model that can be named after --base."""

    name: str
    title: str
    family: str
    licence: str
    native_px: int
    folder: Path


def bases(
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """List the base models that are known by name; any other is given by its folder.

    \b
    loraloom bases
    loraloom bases --json
    """
    found = installed()
    if json:
        print_json([asdict(base) for base in found])
        return
    from rich.console import Console

    table = Table("name", "title", "family", "px", "licence", box=None, header_style="bold")
    for base in found:
        table.add_row(base.name, base.title, base.family, str(base.native_px), base.licence)
    Console().print(table)


def installed() -> list[Base]:
    """Every base known by name whose folder is there; imports no torch."""
    from loraloom import families, settings
    from loraloom.errors import BaseUnknown

    found = []
    for name, folder in settings.base_folders().items():
        try:
            family = families.detect(folder)
        except BaseUnknown:
            continue  # known by name, but not there or of no family: asking for it tells why
        profile = family.profile(folder)
        facts = (profile.title, profile.family, profile.licence, profile.native_px)
        found.append(Base(name, *facts, folder))
    return found
