"""/adapters: the library of adapters."""

from __future__ import annotations

import base64
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, UploadFile
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from loraloom.studio import importing
from loraloom.studio.adapter import Adapter
from loraloom.studio.described import iso
from loraloom.studio.importing import Format
from loraloom.studio.library import Edit, Filter
from loraloom.studio.registering import sha256_of
from loraloom.studio.rights import Visibility
from loraloom.web.etags import IfMatch, etag, refuse_stale
from loraloom.web.paging import Before, InProject, cut
from loraloom.web.problems import ANSWERS
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/adapters", tags=["adapters"], responses=ANSWERS)
AdapterNumber = Annotated[int, Path(alias="adapter", ge=1, le=2**31 - 1)]
Word = Annotated[str, Query(max_length=100)]


class AdapterBody(BaseModel):
    """One adapter; times in ISO 8601, UTC."""

    id: int
    name: str
    description: str
    kind: str
    tags: list[str]
    base: str
    family: str
    type: str
    rank: int | None
    trigger: str
    layout: str
    sha256: str
    size_bytes: int
    facts: dict[str, str]
    scale: float
    """The recommended strength."""
    job: int | None
    """The run that made it."""
    parent: int | None
    """The version before it."""
    dataset: str
    dataset_hash: str
    owner: int | None
    """The number of the person whose it is; null: the owners of the studio."""
    visibility: Visibility
    project: int | None
    starred: bool
    alias: str
    created: str
    trashed: str | None


class AdapterPage(BaseModel):
    """Some adapters, the newest first; `next` is the `before` of those behind them."""

    adapters: list[AdapterBody]
    next: int | None


def body(adapter: Adapter) -> AdapterBody:
    """As the API tells it."""
    own = {name: getattr(adapter, name, None) for name in AdapterBody.model_fields}
    created = iso(adapter.created_at) or ""
    more = {
        "job": adapter.run_id,
        "parent": adapter.parent_id,
        "owner": adapter.owner_id,
        "project": adapter.project_id,
        "created": created,
    }
    return AdapterBody.model_validate({**own, **more, "trashed": iso(adapter.trashed_at)})


@router.get("")
def list_adapters(
    studio: StudioNow,
    q: Word = "",
    kind: Word = "",
    family: Word = "",
    tag: Word = "",
    visibility: Word = "",
    starred: bool = False,
    trashed: bool = False,
    project: InProject = None,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 60,
) -> AdapterPage:
    """List the adapters that match, the newest first; `trashed`: those thrown away."""
    wanted = Filter(q, kind, family, tag, visibility, starred, trashed, project)
    found = studio.library.page(wanted, before=before, limit=limit + 1)
    shown, more = cut(found, limit)
    return AdapterPage(adapters=[body(one) for one in shown], next=more)


@router.post("", status_code=201)
def import_adapter(studio: StudioNow, file: UploadFile) -> AdapterBody:
    """Take a .safetensors file into the library; what it is for is found out from it."""
    return body(importing.take_in(studio.library, file.file, file.filename or ""))


@router.get("/{adapter}")
def show_adapter(studio: StudioNow, adapter: AdapterNumber, response: Response) -> AdapterBody:
    """One adapter; its ETag is for the If-Match of a change."""
    return _tagged(response, studio.library.get(adapter))


@router.patch("/{adapter}")
def edit_adapter(
    studio: StudioNow,
    adapter: AdapterNumber,
    edit: Edit,
    response: Response,
    if_match: IfMatch = None,
) -> AdapterBody:
    """Change what is given of name, description, kind, tags and such.

    With If-Match, only where nobody has changed the adapter meanwhile (412).
    """
    done = studio.library.edit(adapter, edit, lambda now: refuse_stale(if_match, body(now)))
    return _tagged(response, done)


def _tagged(response: Response, adapter: Adapter) -> AdapterBody:
    told = body(adapter)
    response.headers["ETag"] = etag(told)
    return told


@router.delete("/{adapter}")
def trash_adapter(studio: StudioNow, adapter: AdapterNumber) -> AdapterBody:
    """Put an adapter into the bin, where it stays for 30 days."""
    return body(studio.library.trash(adapter))


@router.post("/{adapter}/restore")
def restore_adapter(studio: StudioNow, adapter: AdapterNumber) -> AdapterBody:
    """Take an adapter out of the bin."""
    return body(studio.library.restore(adapter))


@router.get("/{adapter}/file", response_class=FileResponse)
def download_adapter(
    studio: StudioNow, adapter: AdapterNumber, layout: Format = "original"
) -> FileResponse:
    """The file, as it is or in the layout of another program; peft's folder comes as a ZIP.

    A layout is made at the first time, which takes a few seconds. The header Repr-Digest tells
    the SHA-256 of what is sent.
    """
    return file_of(studio.library.get(adapter), layout)


@router.get("/{adapter}/cover", response_class=FileResponse)
def cover(studio: StudioNow, adapter: AdapterNumber) -> FileResponse:
    """The picture that stands for an adapter."""
    path = studio.library.get(adapter).cover_path
    if path is None:
        raise HTTPException(404, f"Adapter {adapter} has no cover.")
    return FileResponse(path, media_type="image/webp" if path.suffix == ".webp" else "image/png")


def file_of(adapter: Adapter, layout: Format) -> FileResponse:
    """The adapter's file in a layout, under its name."""
    path = importing.copy_in(adapter, layout)
    word = "" if path == adapter.path else f"-{layout}"
    stem = "".join(char if char.isalnum() or char in " -_." else "_" for char in adapter.name)
    digest = bytes.fromhex(sha256_of(path))
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=f"{stem.strip(' .') or 'adapter'}{word}{path.suffix}",
        headers={"Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"},
    )
