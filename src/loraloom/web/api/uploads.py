"""/uploads: files that come in parts, each part where the one before it ended."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from loraloom.errors import UploadRefused
from loraloom.studio.uploads import Upload
from loraloom.web.bench import BenchNow
from loraloom.web.problems import ANSWERS

router = APIRouter(prefix="/uploads", tags=["uploads"], responses=ANSWERS)
Id = Annotated[str, Path(alias="upload", max_length=64)]
RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.A)
MOST_BYTES = 2**45


class NewUpload(BaseModel):
    """A file that is going to be sent."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=4000)
    """What it is called, perhaps with folders; only ever text."""
    size: int = Field(ge=0, le=MOST_BYTES)
    """Bytes."""


class UploadBody(BaseModel):
    """A file that comes in parts; `offset` is where the next one begins."""

    id: str
    name: str
    size: int
    offset: int


def _body(upload: Upload) -> UploadBody:
    return UploadBody(id=upload.id, name=upload.name, size=upload.size, offset=upload.offset)


@router.post("", status_code=201)
def begin_upload(bench: BenchNow, new: NewUpload) -> UploadBody:
    """Announce a file; its parts follow with PUT."""
    return _body(bench.uploads.begin(new.name, new.size))


@router.get("/{upload}")
def show_upload(bench: BenchNow, upload: Id) -> UploadBody:
    """How much of a file has come."""
    return _body(bench.uploads.get(upload))


@router.put(
    "/{upload}",
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}
    },
)
async def append_to_upload(
    request: Request,
    bench: BenchNow,
    upload: Id,
    offset: Annotated[int | None, Query(ge=0, le=MOST_BYTES)] = None,
    content_range: Annotated[str | None, Header()] = None,
) -> UploadBody:
    """Append bytes; `offset` or `Content-Range` says where they begin, which must be the end.

    What has come stays when the connection is lost; GET then tells where to go on.
    """
    found = RANGE.fullmatch(content_range or "")
    if offset is None and found is None:
        raise UploadRefused("Say where the bytes begin: ?offset=N, or Content-Range: bytes A-B/C.")
    if found is not None:
        _check(found, bench.uploads.get(upload), offset, request.headers.get("content-length", ""))
    start = offset if offset is not None else int(found[1]) if found else 0
    with bench.uploads.appending(upload, start) as take:
        async for piece in request.stream():
            await run_in_threadpool(take, piece)
    return _body(bench.uploads.get(upload))


def _check(said: re.Match[str], known: Upload, offset: int | None, length: str) -> None:
    """Raises UploadRefused where a Content-Range contradicts what else is known."""
    start, end = int(said[1]), int(said[2])
    wrong = (
        end < start
        or offset not in (None, start)
        or said[3] not in ("*", str(known.size))
        or (length.isdecimal() and int(length) != end - start + 1)
    )
    if wrong:
        raise UploadRefused(
            f"{said[0]!r} does not fit: {known.name} has {known.size:,} bytes and goes on at byte "
            f"{known.offset:,}; the range holds the first and the last byte of this part."
        )


@router.delete("/{upload}", status_code=204, response_class=Response)
def give_up_upload(bench: BenchNow, upload: Id) -> Response:
    """Remove what has come of a file."""
    bench.uploads.remove(upload)
    return Response(status_code=204)
