"""`loraloom dataset prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloom.cli.output import print_json

if TYPE_CHECKING:
    from loraloom.dataset.prepare.plan import Plan
    from loraloom.dataset.prepare.run import Prepared

SHOWN = 8
"""Findings named of each kind; --json has all."""
ONE_SEQUENCE = "one PNG a frame, as many as a video base takes"


def prepare(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="a folder, or a dataset: NAME or NAME@HASH"),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="new folder to write")],
    base: Annotated[
        str, typer.Option(help="base model, family or video base that it is for")
    ] = "starter",
    crop: Annotated[Literal["face"] | None, typer.Option(help="cut pictures to the face")] = None,
    face_margin: Annotated[float, typer.Option(help="kept around the face, in its widths")] = 0.8,
    masks: Annotated[
        str | None, typer.Option(metavar="alpha|grabcut|FOLDER", help="say what is learnt")
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(metavar="X,Y,W,H", help="where GrabCut finds it, in shares (else: by face)"),
    ] = None,
    upscale: Annotated[
        Path | None,
        typer.Option(metavar="MODEL.safetensors", help="enlarge what is smaller than the base"),
    ] = None,
    png: Annotated[
        bool, typer.Option("--png", help="all as PNG, upright, sRGB, alpha over white")
    ] = False,
    fit: Annotated[bool, typer.Option("--fit", help="scale and cut to the base's sizes")] = False,
    preview: Annotated[
        Path | None, typer.Option(metavar="SHEET.png", help="show what each bucket keeps")
    ] = None,
    clip_seconds: Annotated[
        str | None, typer.Option(metavar="2-5", help="cut clips at shots, else evenly")
    ] = None,
    fps: Annotated[
        int | None, typer.Option(help="one frame rate for all clips; 24 or 30 are usual")
    ] = None,
    frames: Annotated[bool, typer.Option("--frames", help=ONE_SEQUENCE)] = False,
    clips: Annotated[bool, typer.Option("--clips", help="GIFs are clips too")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="write anew what was prepared before")
    ] = False,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="leave out what cannot be read")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Write a new folder with pictures and clips made ready; the source is not changed.

    Captions go along. Masks go to the folder "masks": white is learnt.
    Killed, the same command goes on where it was.

    \b
    loraloom dataset prepare cups --out ready --fit --preview sheet.png
    loraloom dataset prepare me --out ready --crop face --masks grabcut
    loraloom dataset prepare clips --out ready --base wan --fps 24 --frames
    """
    from loraloom.cli.bars import staged
    from loraloom.dataset.prepare.run import prepare as prepare_set

    plan = _plan(
        crop, face_margin, masks, box, upscale, clip_seconds, fps,
        png=png, fit=fit, frames=frames, preview=preview is not None,
    )  # fmt: skip
    with staged(quiet=json) as progress:
        done = prepare_set(
            source, out, plan, base=base, sheet=preview, moving_gifs=clips, replace=replace,
            skip_broken=skip_broken, progress=progress,
        )  # fmt: skip
    if json:
        print_json(_as_json(done))
    else:
        _show(done)


def _plan(
    crop: str | None,
    face_margin: float,
    masks: str | None,
    box: str | None,
    upscale: Path | None,
    clip_seconds: str | None,
    fps: int | None,
    *,
    png: bool,
    fit: bool,
    frames: bool,
    preview: bool,
) -> Plan:
    from loraloom.dataset.prepare.plan import Plan, parse_box, parse_masks, parse_seconds

    way, folder = parse_masks(masks) if masks is not None else ("", None)
    return Plan(
        face=crop == "face",
        face_margin=face_margin,
        masks=way,
        mask_folder=folder,
        box=parse_box(box) if box is not None else None,
        upscale=upscale,
        png=png,
        fit=fit,
        preview=preview,
        clip_seconds=parse_seconds(clip_seconds) if clip_seconds is not None else None,
        fps=fps,
        frames=frames,
    )


def _as_json(done: Prepared) -> dict[str, object]:
    from dataclasses import asdict

    from loraloom.findings import as_json

    names = ("file", "width_px", "height_px", "mask", "frames", "changed", "bucket")
    return {
        "path": done.out,
        "source": done.title,
        "for": done.target,
        "fps": done.fps or None,
        "items": [
            {"from": item.name, "files": [{n: asdict(w)[n] for n in names} for w in item.written]}
            for item in done.items
        ],
        "buckets": done.buckets(),
        "preview": list(done.sheets),
        **as_json(done.findings),
    }


def _show(done: Prepared) -> None:
    """Findings by kind, the buckets, then one sentence."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    codes = dict.fromkeys(finding.code for finding in done.findings)
    for code in codes:
        members = [finding for finding in done.findings if finding.code == code]
        console.print(f"[yellow bold]{escape(code)}[/] [dim]{len(members)}[/]")
        for finding in members[:SHOWN]:
            where = f"[bold]{escape(finding.item)}[/]: " if finding.item else ""
            console.print(f"  {where}{escape(finding.message)}")
        if len(members) > SHOWN:
            console.print(f"  [dim]… and {len(members) - SHOWN} more[/]")
        if members[0].fix:
            console.print(f"  [dim]→ {escape(members[0].fix)}[/]")
    for bucket, count in done.buckets().items():
        console.print(f"  {bucket:>12}  {count:>4}  {'▪' * min(count, 60)}")
    console.print(_sentence(done), markup=False)
    if done.sheets:
        console.print(f"Look at {', '.join(map(str, done.sheets))}", markup=False)


def _sentence(done: Prepared) -> str:
    moving = [written for written in done.written if written.frames]
    still = [written for written in done.written if not written.frames]
    masked = sum(bool(written.mask) for written in still)
    untouched = sum(not written.changed for written in done.written)
    parts = []
    if still:
        parts.append(f"{len(still)} pictures" + (f" ({masked} with mask)" if masked else ""))
    if moving:
        total = sum(written.frames for written in moving)
        rate = f" at {done.fps:g} fps" if done.fps else ""
        parts.append(f"{len(moving)} clips of {total} frames{rate}")
    same = f"; {untouched} of them as they were" if untouched else ""
    return f"Wrote {' and '.join(parts)} for {done.target} to {done.out}{same}"
