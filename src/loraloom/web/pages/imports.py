"""From files to a dataset: uploaded, looked at, stored."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Request, UploadFile
from starlette.responses import FileResponse, RedirectResponse, Response

from loraloom.dataset.intake import Uncaptioned
from loraloom.dataset.snapshot import folder_name
from loraloom.errors import DatasetUnknown
from loraloom.studio.uploads import Uploads
from loraloom.web.bench import BenchNow, Sha
from loraloom.web.pages.datasets import url
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _

router = APIRouter(prefix="/imports")
PIECE_BYTES = 2**20
Number = Annotated[str, Path(alias="import", max_length=64)]


@router.post("")
def begin(
    bench: BenchNow,
    dataset: Annotated[str, Form(max_length=200)] = "",
    upload: Annotated[list[str], Form(max_length=100_000)] = [],  # noqa: B006
    files: Annotated[list[UploadFile], File()] = [],  # noqa: B006
) -> Response:
    """Look at what was uploaded before, or comes with the form itself."""
    sent = [receive(bench.uploads, file) for file in files if file.filename]
    name = dataset.strip() or _name_of(files)
    one = bench.imports.begin(name, [*upload, *sent])
    return RedirectResponse(f"/imports/{one.id}", status_code=303)


def receive(uploads: Uploads, file: UploadFile) -> str:
    """Keep a file that came with a form as an upload; its number."""
    made = uploads.begin(file.filename or "", file.size or 0)
    with uploads.appending(made.id, 0) as take:
        while piece := file.file.read(PIECE_BYTES):
            take(piece)
    return made.id


def _name_of(files: list[UploadFile]) -> str:
    first = next((file.filename or "" for file in files), "")
    return folder_name(first.rpartition(".")[0]) or "pictures"


@router.get("/{import}")
def show(request: Request, bench: BenchNow, number: Number) -> Response:
    """What the import would bring, or how far it is."""
    one = bench.imports.get(number)
    return page(
        request,
        "datasets/import.html",
        one=one,
        root=url(one.dataset),
        is_new=not bench.store.has(one.dataset),
        shown=[
            (picture, bench.thumbs.place(picture.sha256).is_file())
            for picture in one.preview.pictures[:60]
        ],
    )


@router.get("/{import}/thumbs/{sha256}")
def thumb(bench: BenchNow, number: Number, sha256: Sha) -> Response:
    """The small copy of a picture that is not stored yet."""
    one = bench.imports.get(number)
    place = bench.thumbs.place(sha256)
    if not place.is_file() or all(picture.sha256 != sha256 for picture in one.preview.pictures):
        raise DatasetUnknown(_("This import has no such picture."))
    return FileResponse(place, media_type="image/webp", headers={"Cache-Control": "private"})


@router.post("/{import}/store")
def store(
    bench: BenchNow, number: Number, skip_broken: Annotated[bool, Form()] = False
) -> Response:
    """Store all of it, or what is sound."""
    bench.imports.store(number, skip_broken=skip_broken)
    return RedirectResponse(f"/imports/{number}", status_code=303)


@router.post("/{import}/again")
def again(bench: BenchNow, number: Number, uncaptioned: Annotated[Uncaptioned, Form()]) -> Response:
    """Look once more, with another choice for pictures without caption."""
    bench.imports.look_again(number, uncaptioned)
    return RedirectResponse(f"/imports/{number}", status_code=303)


@router.post("/{import}/leave")
def leave(bench: BenchNow, number: Number) -> Response:
    """Store nothing."""
    one = bench.imports.give_up(number)
    known = bench.store.has(one.dataset)
    return back(url(one.dataset) if known else "/datasets", _("Nothing was stored."))
