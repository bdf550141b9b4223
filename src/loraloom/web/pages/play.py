"""The playground: ask for pictures, see them come, keep the good ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Query, Request
from starlette.responses import Response

from loraloom.errors import AdapterUnknown, BaseUnknown, ConfigInvalid, Forbidden
from loraloom.families.installed import Base, describe, installed
from loraloom.settings import STARTER, data_folder
from loraloom.studio import bases, sending
from loraloom.studio.adapter import Adapter, project_of
from loraloom.studio.library import Filter
from loraloom.studio.picture import MOST_ADAPTERS, MOST_AT_ONCE, Ask, Picture
from loraloom.studio.pictures import PAGE
from loraloom.studio.rights import Person, Visibility
from loraloom.studio.studio import Studio
from loraloom.web.api.pictures import PictureNumber
from loraloom.web.checked import checked
from loraloom.web.pages.preferences import own
from loraloom.web.paging import Before, cut
from loraloom.web.render import back, page
from loraloom.web.sharing import told
from loraloom.web.texts import translate as _
from loraloom.web.who import PersonNow, StudioNow

router = APIRouter(prefix="/play")
Given = Annotated[str, Query(max_length=2000)]
Field = Annotated[str, Form(max_length=2000)]
OFFERED = 200
"""Adapters that the list offers; the library has them all."""


@router.get("")
def playground(
    request: Request,
    studio: StudioNow,
    person: PersonNow,
    prompt: Given = "",
    negative: Given = "",
    base: Given = "",
    adapter: Annotated[list[str] | None, Query(max_length=20)] = None,
    scale: Annotated[list[str] | None, Query(max_length=20)] = None,
    on: Annotated[list[str] | None, Query(max_length=20)] = None,
    add: Given = "",
    drop: Given = "",
    guidance: Given = "",
    steps: Given = "",
    width_px: Given = "",
    height_px: Given = "",
    seed: Given = "",
    count: Given = "2",
    compare: Given = "",
    like: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    starred: bool = False,
    trashed: bool = False,
    before: Before = None,
) -> Response:
    """The form, filled from the address, and the history. `like`: as that picture was asked for."""
    form: dict[str, Any] = {
        "prompt": prompt, "negative": negative, "base": base, "guidance": guidance, "steps": steps,
        "width_px": width_px, "height_px": height_px, "seed": seed, "count": count,
        "compare": compare,
    }  # fmt: skip
    rows = _rows(adapter or [], scale or [], on or [])
    if like is not None:
        form, rows = _like(studio.pictures.get(like))
    if add:
        rows = [*rows, (add, "", True)]
    used = _used(studio, [row for row in rows if row[0] != drop][:MOST_ADAPTERS])
    chosen = _base(person, form["base"], [one for one, _, _ in used])
    if trashed:
        studio.pictures.empty_bin()
    found = studio.pictures.page(before=before, limit=PAGE + 1, starred=starred, trashed=trashed)
    shown, more = cut(found, PAGE)
    going = studio.pictures.going()
    chosen_ids = {one.id for one, _, _ in used}
    offered = [
        one
        for one in studio.library.page(Filter(), limit=OFFERED)
        if one.id not in chosen_ids and (not used or one.family == used[0][0].family)
    ]
    return page(
        request,
        "play/playground.html",
        form=form,
        used=used,
        base=chosen,
        bases=installed(),
        offered=offered,
        pictures=[one for one in shown if one.is_drawn or one.is_coming],
        next=more,
        going=going,
        held=studio.pictures.in_the_way() if any(one.state == "queued" for one in going) else None,
        saved=studio.pictures.saved(),
        starred=starred,
        trashed=trashed,
        here=_here(request),
        most=MOST_AT_ONCE,
    )


@router.post("")
def ask(
    studio: StudioNow,
    prompt: Field = "",
    negative: Field = "",
    base: Field = "",
    adapter: Annotated[list[str] | None, Form()] = None,
    scale: Annotated[list[str] | None, Form()] = None,
    on: Annotated[list[str] | None, Form()] = None,
    guidance: Field = "",
    steps: Field = "",
    width_px: Field = "",
    height_px: Field = "",
    seed: Field = "",
    count: Field = "1",
    compare: Field = "",
    complete: Field = "",
) -> Response:
    """Queue what the form asks for."""
    adapters = [
        {"adapter": number, "scale": strength or "1", "on": number in (on or [])}
        for number, strength in zip(adapter or [], scale or [], strict=False)
    ]
    values = {
        "prompt": prompt, "negative": negative, "base": base, "adapters": adapters,
        "guidance": guidance or None, "steps": steps or None, "width_px": width_px or None,
        "height_px": height_px or None, "seed": seed or None, "count": count or "1",
        "compare": bool(compare), "complete": bool(complete),
    }  # fmt: skip
    job = studio.pictures.ask(checked(Ask, values))
    first = studio.pictures.of_job(job.id)[0]
    return back(f"/play?like={first.id}", _("The pictures are in the queue."))


@router.post("/prompts")
def save_prompt(
    studio: StudioNow,
    prompt: Field = "",
    negative: Field = "",
    adapter: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Keep the prompt of the form, in the project of its adapters."""
    asked = checked(Ask, {"prompt": prompt, "negative": negative})
    used = _used(studio, _rows(adapter or [], [], []))
    inside = project_of(one for one, _, _ in used)
    studio.pictures.save_prompt(asked.prompt, asked.negative, inside)
    return back(f"/play?prompt={quote(asked.prompt)}&negative={quote(asked.negative)}", _("Kept."))


@router.post("/prompts/{prompt}/forget")
def forget_prompt(
    studio: StudioNow, number: Annotated[int, Path(alias="prompt", ge=1, le=2**31 - 1)]
) -> Response:
    """Keep a prompt no longer."""
    studio.pictures.forget_prompt(number)
    return back("/play", _("The prompt is gone."))


@router.get("/{picture}")
def show(request: Request, studio: StudioNow, picture: PictureNumber) -> Response:
    """One picture, large, with all that made it."""
    found = studio.pictures.get(picture)
    newer, older = studio.pictures.beside(picture)
    return page(
        request, "play/picture.html", picture=found, newer=newer, older=older,
        datasets=[n for n in studio.datasets.names() if studio.datasets.is_own(n)],
    )  # fmt: skip


@router.post("/{picture}/send")
def send_to_dataset(
    studio: StudioNow,
    picture: PictureNumber,
    dataset: Annotated[str, Form(max_length=200)],
    caption: Field = "",
) -> Response:
    """Add it to a dataset."""
    sending.send(studio.datasets, studio.pictures.get(picture), dataset, caption)
    return back(f"/play/{picture}", _("The picture is in the dataset."))


@router.post("/{picture}/share")
def share(
    studio: StudioNow, picture: PictureNumber, visibility: Annotated[Visibility, Form()]
) -> Response:
    """Show it to everybody with an account, or to nobody else."""
    studio.pictures.share(picture, visibility)
    return back(f"/play/{picture}", told(visibility))


@router.post("/{picture}/{action}")
def change(
    studio: StudioNow,
    picture: PictureNumber,
    action: Literal["star", "unstar", "trash", "restore", "cover"],
    then: Annotated[str, Form()] = "/play",
) -> Response:
    """What a picture's buttons do."""
    match action:
        case "star" | "unstar":
            studio.pictures.star(picture, starred=action == "star")
            return back(own(then))
        case "trash":
            studio.pictures.trash(picture)
            return back(own(then), _("The picture is in the bin."))
        case "restore":
            studio.pictures.restore(picture)
            return back(own(then), _("The picture is back."))
        case "cover":
            found = studio.pictures.get(picture)
            cover = str(found.path.relative_to(data_folder()))
            _set_covers(studio, [one["id"] for one in found.asked["adapters"]], cover)
            return back(own(then), _("The picture is the adapter's cover."))


def _set_covers(studio: Studio, numbers: Sequence[int], cover: str) -> None:
    """Of those that one may change. Raises Forbidden where that is none of them."""
    refused = 0
    for number in numbers:
        try:
            studio.library.set_cover(number, cover)
        except (AdapterUnknown, Forbidden):
            refused += 1
    if refused and refused == len(numbers):
        raise Forbidden(_("The adapters of this picture belong to somebody else."))


def _rows(
    adapters: Sequence[str], scales: Sequence[str], on: Sequence[str]
) -> list[tuple[str, str, bool]]:
    """Number, strength and whether it is on: "12:0.8", or fields of a form one behind the other."""
    rows = []
    for place, text in enumerate(adapters):
        number, _colon, strength = text.partition(":")
        strength = strength or (scales[place] if place < len(scales) else "")
        rows.append((number, strength, not scales or number in on))
    return rows


def _used(
    studio: StudioNow, rows: Sequence[tuple[str, str, bool]]
) -> list[tuple[Adapter, float, bool]]:
    found = []
    for number, strength, is_on in rows:
        try:
            adapter = studio.library.get(int(number))
        except (ValueError, OverflowError):
            continue
        except AdapterUnknown:
            continue
        given = re.fullmatch(r"-?\d+(\.\d+)?", strength)
        scale = min(max(float(strength), -1), 2) if given else adapter.scale
        found.append((adapter, scale, is_on))
    return found


def _like(picture: Picture) -> tuple[dict[str, Any], list[tuple[str, str, bool]]]:
    """The form that would ask for the picture again."""
    asked = picture.settings
    names = ("prompt", "negative", "base", "guidance", "steps", "width_px", "height_px", "seed")
    form = {name: "" if asked.get(name) is None else asked[name] for name in names}
    rows = [(str(one["id"]), str(one["scale"]), True) for one in asked["adapters"]]
    return {**form, "count": "1", "compare": ""}, rows


def _base(person: Person, name: str, used: Sequence[Adapter]) -> Base | None:
    try:
        bases.refuse_folder(person, name)
        if name:
            return describe(name)
        if used:
            return bases.for_adapter(used[0].base, used[0].family)
        return describe(STARTER)
    except (BaseUnknown, ConfigInvalid):
        return None


def _here(request: Request) -> str:
    query = request.url.query
    return f"/play?{query}" if query else "/play"
