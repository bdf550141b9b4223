"""The library: cards of adapters, and a page for each."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, UploadFile
from starlette.responses import Response

from loraloom import families
from loraloom.errors import JobUnknown
from loraloom.families.installed import installed
from loraloom.kinds import Kind
from loraloom.studio import bases, importing, run_files
from loraloom.studio.adapter import TAGS, Adapter
from loraloom.studio.library import BIN_DAYS, PAGE, Edit, Filter
from loraloom.studio.rights import Visibility
from loraloom.web.api.adapters import AdapterNumber, Word
from loraloom.web.checked import checked
from loraloom.web.pages.preferences import own
from loraloom.web.paging import Before, cut
from loraloom.web.render import back, page
from loraloom.web.sharing import told
from loraloom.web.texts import translate as _
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/adapters")
SAMPLES = 24


@router.get("")
def library(
    request: Request,
    studio: StudioNow,
    q: Word = "",
    kind: Word = "",
    family: Word = "",
    tag: Word = "",
    visibility: Word = "",
    starred: bool = False,
    trashed: bool = False,
    before: Before = None,
) -> Response:
    """Those that match, the newest first."""
    wanted = Filter(q, kind, family, tag, visibility, starred, trashed)
    if trashed:
        studio.library.empty_bin()
    shown, more = cut(studio.library.page(wanted, before=before, limit=PAGE + 1), PAGE)
    given = {
        "q": q, "kind": kind, "family": family, "tag": tag, "visibility": visibility,
        "starred": "1" if starred else "", "trashed": "1" if trashed else "",
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value}

    def url(**changes: object) -> str:
        """This page with other filters; "" takes one away."""
        values = {**given, **changes}
        query = urlencode({name: value for name, value in values.items() if value})
        return f"/adapters?{query}" if query else "/adapters"

    return page(
        request,
        "adapters/library.html",
        adapters=shown,
        next=more,
        count=studio.library.count(wanted),
        facets=studio.library.facets(),
        families=_titles(),
        wanted=wanted,
        url=url,
        days=BIN_DAYS,
    )


@router.post("/import")
def import_files(studio: StudioNow, files: list[UploadFile]) -> Response:
    """Take files into the library; on to the only one, or to all."""
    taken = [importing.take_in(studio.library, one.file, one.filename or "") for one in files]
    if len(taken) == 1:
        return back(f"/adapters/{taken[0].id}", _("The adapter is in the library."))
    return back("/adapters", _("The adapters are in the library."))


@router.get("/{adapter}")
def show(request: Request, studio: StudioNow, adapter: AdapterNumber) -> Response:
    """All that is known of one adapter."""
    studio.library.register()
    found = studio.library.get(adapter)
    base = bases.for_adapter(found.base, found.family)
    return page(
        request,
        "adapters/adapter.html",
        adapter=found,
        base=base,
        families=_titles(),
        versions=studio.library.versions(found),
        samples=_samples(studio, found),
        formats=importing.FORMATS,
        kinds=list(Kind),
        tags=[tag for tag in TAGS if tag not in found.tags],
        bases=installed(),
        visibilities=list(Visibility),
        days=BIN_DAYS,
    )


@router.post("/{adapter}")
def edit(
    studio: StudioNow,
    adapter: AdapterNumber,
    name: Annotated[str, Form()],
    description: Annotated[str, Form()] = "",
    kind: Annotated[str, Form()] = "",
    tags: Annotated[str, Form(max_length=2000)] = "",
    trigger: Annotated[str, Form()] = "",
    base: Annotated[str, Form()] = "",
    scale: Annotated[str, Form()] = "1",
    visibility: Annotated[str, Form()] = "",
    alias: Annotated[str, Form()] = "",
) -> Response:
    """Keep what the form says."""
    values = {
        "name": name, "description": description, "kind": kind or None, "tags": tags.split(","),
        "trigger": trigger, "base": base, "scale": scale, "visibility": visibility or None,
        "alias": alias,
    }  # fmt: skip
    studio.library.edit(adapter, checked(Edit, values))
    return back(f"/adapters/{adapter}", _("Kept."))


@router.post("/{adapter}/star")
def star(
    studio: StudioNow,
    adapter: AdapterNumber,
    starred: Annotated[bool, Form()] = False,
    then: Annotated[str, Form()] = "/adapters",
) -> Response:
    """Mark or unmark it."""
    studio.library.edit(adapter, Edit(starred=starred))
    return back(own(then))


@router.post("/{adapter}/share")
def share(
    studio: StudioNow, adapter: AdapterNumber, visibility: Annotated[Visibility, Form()]
) -> Response:
    """Show it to everybody with an account, or to nobody else."""
    studio.library.edit(adapter, Edit(visibility=visibility))
    return back(f"/adapters/{adapter}", told(visibility))


@router.post("/{adapter}/{action}")
def throw(
    studio: StudioNow, adapter: AdapterNumber, action: Literal["trash", "restore"]
) -> Response:
    """Into the bin or out of it."""
    if action == "restore":
        studio.library.restore(adapter)
        return back(f"/adapters/{adapter}", _("The adapter is back."))
    studio.library.trash(adapter)
    return back(f"/adapters/{adapter}", _("The adapter is in the bin."))


def _titles() -> dict[str, str]:
    return {info.id: info.title for info in families.all_infos()}


def _samples(studio: StudioNow, adapter: Adapter) -> list[str]:
    """Addresses of its run's samples up to its own step, the newest first."""
    if adapter.run_id is None:
        return []
    try:
        drawn = run_files.samples(studio.jobs.get(adapter.run_id).run_folder, adapter.step)
    except JobUnknown:
        return []
    files = f"/api/v1/jobs/{adapter.run_id}/files/samples"
    return [f"{files}/{path.name}" for path in drawn[:SAMPLES]]
