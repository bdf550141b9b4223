"""`loraloom dataset …`: import, look at, keep, compare, export and remove datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloom.cli import captions, check, crop, prepare, regularize
from loraloom.cli.output import messages, print_json

if TYPE_CHECKING:
    from loraloom.dataset.stored import StoredDataset

app = typer.Typer(
    help="Import, prepare, keep and export sets of pictures and clips.", no_args_is_help=True
)
app.command()(check.check)
app.command()(prepare.prepare)
app.command()(crop.crop)
app.command()(captions.captions)
app.command()(regularize.regularize)
Name = Annotated[str, typer.Argument(metavar="NAME", help="a stored dataset")]
Json = Annotated[bool, typer.Option("--json", help="one line of JSON")]
Snapshot = Annotated[str, typer.Argument(metavar="HASH", help="how a snapshot's hash begins")]
Format = Literal["kohya", "ai-toolkit", "diffusers", "zip"]
Uncaptioned = Literal["keep", "trigger", "skip", "refuse"]


@app.command("import")
def import_(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="a ZIP, a folder, or several files")
    ],
    name: Annotated[
        str | None, typer.Option(help="dataset to make or to add to (else: the source's name)")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="leave out what is broken and import the rest")
    ] = False,
    uncaptioned: Annotated[
        Uncaptioned, typer.Option(help="pictures without caption: keep, trigger only, skip, refuse")
    ] = "keep",
    clips: Annotated[
        bool, typer.Option("--clips", help="GIFs are clips too (else: their first picture)")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only look; store nothing")] = False,
    json: Json = False,
) -> None:
    """Bring pictures, clips and captions into a dataset; what it has is not added twice.

    Layouts are recognised: captions in .txt or .caption files, metadata.jsonl or .csv, kohya's
    folders and dataset TOML, ai-toolkit's job YAML; masks in a folder "masks" or -masklabel.png.

    \b
    loraloom dataset import cups.zip
    loraloom dataset import my-pictures --name cups --uncaptioned skip
    loraloom dataset import a.png a.txt b.heic --name cups --skip-broken --dry-run
    loraloom dataset import my-clips --clips
    """
    from loraloom.cli.dataset_view import counting, show_intake
    from loraloom.dataset import intake
    from loraloom.dataset.checking import Checkers
    from loraloom.dataset.store import Store
    from loraloom.settings import intake_limits

    stored = Store().place(name or _name_of(sources))
    listing = intake.list_source(sources, intake_limits())
    with (
        stored.changing(),
        Checkers() as check,
        counting("files", quiet=json) as progress,
        intake.examine(
            stored,
            listing,
            uncaptioned=uncaptioned,
            check=check,
            progress=progress,
            moving_gifs=clips,
        ) as found,
    ):
        show_intake(stored.name, found, json=json, stored=not dry_run, skip_broken=skip_broken)
        if dry_run:
            found.refuse_if_broken(skip_broken=skip_broken)
        else:
            intake.store(stored, found, skip_broken=skip_broken)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the stored datasets.

    \b
    loraloom dataset list
    """
    from loraloom.cli.dataset_view import overview, table
    from loraloom.dataset.store import Store

    store = Store()
    rows = [overview(store.open(name)) for name in store.names()]
    if json:
        print_json({"datasets": rows})
    else:
        table(["name", "pictures", "concepts", "snapshots", "hash"], rows)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show a dataset's concepts, pictures, captions and snapshots.

    \b
    loraloom dataset show cups
    """
    from loraloom.cli.dataset_view import show_dataset

    show_dataset(_open(name), json=json)


@app.command()
def snapshot(
    name: Name,
    note: Annotated[str, typer.Option(help="why it was taken")] = "",
    json: Json = False,
) -> None:
    """Keep the dataset as it is now, for ever; prints its hash.

    \b
    loraloom dataset snapshot cups --note "before new captions"
    """
    whole = _open(name).snapshot(note)
    print_json({"name": name, "snapshot": whole}) if json else print(f"{name}@{whole}")


@app.command()
def diff(
    name: Name,
    old: Snapshot,
    new: Annotated[
        str | None, typer.Argument(metavar="HASH", help="another one (else: as it is now)")
    ] = None,
    json: Json = False,
) -> None:
    """Tell what changed from one snapshot to another, or to now.

    \b
    loraloom dataset diff cups 3f2a91c0
    loraloom dataset diff cups 3f2a91c0 77e01b52
    """
    from loraloom.cli.dataset_view import show_difference
    from loraloom.dataset import snapshot

    stored = _open(name)
    after = stored.read_snapshot(new) if new else stored.working
    show_difference(snapshot.diff(stored.read_snapshot(old), after), json=json)


@app.command()
def restore(name: Name, hash_: Snapshot, json: Json = False) -> None:
    """Make the dataset what a snapshot holds; `undo` takes it back.

    \b
    loraloom dataset restore cups 3f2a91c0
    """
    contents = _open(name).restore(hash_)
    _tell(json, f"{name} holds {len(contents.pictures)} pictures again.",
          name=name, snapshot=contents.hash, pictures=len(contents.pictures))  # fmt: skip


@app.command()
def undo(name: Name, json: Json = False) -> None:
    """Take back the last change of a dataset; again for the one before.

    \b
    loraloom dataset undo cups
    """
    undone = _open(name).undo()
    _tell(json, f"Taken back: {undone}", name=name, undone=undone)


@app.command()
def concept(
    name: Name,
    concept: Annotated[
        str | None, typer.Argument(metavar="CONCEPT", help="which one; not for --balance")
    ] = None,
    trigger: Annotated[str | None, typer.Option(help="words that call it")] = None,
    repeats: Annotated[int | None, typer.Option(help="how often its pictures count")] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="choose repeats so that all concepts weigh the same")
    ] = False,
    json: Json = False,
) -> None:
    """Set a concept's trigger and repeats, or balance all concepts.

    \b
    loraloom dataset concept pair "character a" --trigger character_a --repeats 2
    loraloom dataset concept pair --balance
    """
    from dataclasses import asdict, replace

    from loraloom.dataset.snapshot import balanced

    stored = _open(name)
    if balance:
        stored.set_concepts(balanced(stored.working))
    elif concept is None:
        raise typer.BadParameter("name a concept, or give --balance")
    else:
        old = stored.working.concept(concept)
        new = replace(
            old,
            trigger=old.trigger if trigger is None else trigger.strip(),
            repeats=old.repeats if repeats is None else repeats,
        )
        stored.set_concepts([new])
    concepts = stored.working.concepts
    _tell(
        json,
        "\n".join(f"{c.name}: trigger {c.trigger or '–'}, {c.repeats} ×" for c in concepts),
        name=name,
        concepts=[asdict(c) for c in concepts],
    )


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME[@HASH]", help="a stored dataset")],
    to: Annotated[Format, typer.Option(help="for which trainer, or as plain ZIP")],
    out: Annotated[Path | None, typer.Option(help="folder or ZIP to write")] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="diffusers: metadata.csv in place of metadata.jsonl")
    ] = False,
    json: Json = False,
) -> None:
    """Write a dataset as another trainer reads it; it must not exist yet.

    \b
    loraloom dataset export cups --to kohya --out cups-kohya
    loraloom dataset export cups@3f2a91c0 --to zip --out cups.zip
    """
    from loraloom.dataset import exports

    plain, _, prefix = name.partition("@")
    stored = _open(plain)
    contents = stored.read_snapshot(prefix) if prefix else stored.working
    target = out or Path(f"{plain}.zip" if to == "zip" else f"{plain}-{to}")
    warnings = exports.export(contents, stored.objects, to, target, as_csv=csv)
    for warning in [] if json else warnings:
        messages.print(f"[yellow]warning:[/] {warning}")
    _tell(json, f"Wrote {len(contents.pictures)} pictures to {target}", path=target,
          pictures=len(contents.pictures), hash=contents.hash, warnings=warnings)  # fmt: skip


@app.command()
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    json: Json = False,
) -> None:
    """Put a dataset into the bin for 30 days; `recover` brings it back.

    \b
    loraloom dataset remove cups
    """
    from loraloom.dataset.store import Store

    count = len(_open(name).working.pictures)
    if not yes:
        typer.confirm(f"Remove {name} with {count} pictures and its snapshots?", abort=True)
    place = Store().remove(name)
    _tell(json, f"Removed. For 30 days: loraloom dataset recover {name}", name=name, bin=place)


@app.command()
def recover(name: Name, json: Json = False) -> None:
    """Take a removed dataset out of the bin.

    \b
    loraloom dataset recover cups
    """
    from loraloom.dataset.store import Store

    count = len(Store().recover(name).working.pictures)
    _tell(json, f"{name} is back with {count} pictures.", name=name, pictures=count)


def _open(name: str) -> StoredDataset:
    from loraloom.dataset.store import Store

    return Store().open(name)


def _name_of(sources: list[Path]) -> str:
    """The name of the only source, made fit."""
    from loraloom.dataset.snapshot import folder_name

    if len(sources) > 1:
        raise typer.BadParameter("several sources need --name")
    source = sources[0].resolve()
    return folder_name(source.name if source.is_dir() else source.stem) or "dataset"


def _tell(json: bool, text: str, **values: object) -> None:
    if json:
        print_json(values)
    else:
        messages.print(text, markup=False)
