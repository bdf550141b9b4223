"""`loraloom dataset captions`: the captions of a stored dataset alone, out and in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import messages, print_json, printable

if TYPE_CHECKING:
    from loraloom.dataset.snapshot import Contents


def captions(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a stored dataset")],
    source: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="captions to take in: a ZIP, .csv, .jsonl or .txt"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write them: a .zip, .csv or .jsonl")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only look; store nothing")] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Write the captions of a dataset to a file, or take edited ones in by the pictures' names.

    One `loraloom dataset undo NAME` takes back what came in.

    \b
    loraloom dataset captions cups --out cups.csv
    loraloom dataset captions cups cups.csv --dry-run
    loraloom dataset captions cups cups.csv
    """
    from loraloom.dataset.store import Store

    if (source is None) == (out is None):
        raise typer.BadParameter("name a FILE to take in, or one to write with --out")
    stored = Store().open(name)
    if source is not None:
        _take(name, source, dry_run=dry_run, json=json)
        return
    assert out is not None
    _write(stored.working, out)
    count = sum(bool(picture.caption) for picture in stored.working.pictures)
    if json:
        print_json({"name": name, "captions": count, "file": str(out)})
    else:
        messages.print(f"{count} captions are in {out}", markup=False)


def _write(contents: Contents, out: Path) -> None:
    from loraloom.captions import exchange
    from loraloom.errors import OutputExists

    shapes: dict[str, exchange.Shape] = {".zip": "txt", ".csv": "csv", ".jsonl": "jsonl"}
    shape = shapes.get(out.suffix.lower())
    if shape is None:
        raise typer.BadParameter(f"{out.name} ends in none of {', '.join(shapes)}")
    if out.exists():
        raise OutputExists(f"{out} exists already; name another place or remove it.")
    exchange.write(contents, shape, out)


def _take(name: str, source: Path, *, dry_run: bool, json: bool) -> None:
    from loraloom.captions import bulk, exchange
    from loraloom.cli.caption_view import show_diff
    from loraloom.dataset.store import Store
    from loraloom.settings import intake_limits

    stored = Store().open(name)
    found = exchange.take(stored.working, exchange.read(source, source.name, intake_limits()))
    if not dry_run:
        bulk.write(stored, found.changes, f"captions of {source.name}")
    if json:
        print_json({
            "name": name, "written": not dry_run, "same": found.same,
            "changed": [{"name": c.name, "before": c.before, "after": c.after}
                        for c in found.changes],
            "unknown": list(found.unknown), "ambiguous": list(found.ambiguous),
        })  # fmt: skip
        return
    for change in found.changes:
        show_diff(change.name, change.before, change.after)
    for title, names in (("no picture is", found.unknown), ("several are", found.ambiguous)):
        if names:
            messages.print(f"{title} called {printable(', '.join(names[:20]))}", markup=False)
    done = "would change; nothing was written" if dry_run else "changed"
    messages.print(f"{len(found.changes)} captions {done}, {found.same} were so before")
