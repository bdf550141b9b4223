"""`loraloom dataset crop`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import messages, print_json

if TYPE_CHECKING:
    from loraloom.dataset.snapshot import Picture


def crop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a stored dataset")],
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PICTURE...]", help="names or hashes (else: all pictures)"),
    ] = None,
    face: Annotated[bool, typer.Option("--face", help="around the largest face")] = False,
    margin: Annotated[float, typer.Option(help="kept around it, in widths of the face")] = 0.8,
    box: Annotated[
        str | None, typer.Option(metavar="X,Y,W,H", help="in pixels of the upright picture")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="all of the picture again")] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Say which part of pictures is used; the pictures stay whole, and `undo` takes it back.

    \b
    loraloom dataset crop me --face
    loraloom dataset crop cups 01.png --box 40,0,512,512
    loraloom dataset crop cups 01.png --whole
    """
    from loraloom.cli.bars import staged
    from loraloom.dataset import crops
    from loraloom.dataset.store import Store

    if [face, box is not None, whole].count(True) != 1:
        raise typer.BadParameter("give one of --face, --box and --whole")
    stored = Store().open(name)
    pictures = crops.choose(stored.working.pictures, which or [])
    bare: list[Picture] = []
    if face:
        from loraloom.dataset.prepare.subject import face_crops

        with staged(quiet=json) as progress:
            found, bare = face_crops(stored.objects, pictures, margin, progress)
    else:
        found = dict.fromkeys(
            (picture.sha256 for picture in pictures), crops.parse(box) if box else None
        )
    stored.set_crops(found)
    without = [picture.name for picture in bare]
    if json:
        print_json({"name": name, "crops": found, "without_face": without})
        return
    for left in without:
        messages.print(f"{left}: no face was found; it stays as it is", markup=False)
    messages.print(f"{name}: {len(found)} pictures changed. `undo` takes it back.", markup=False)
