"""/datasets/{dataset}/pictures: the pictures of a dataset, their captions and crops."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from loraloom.captions import bulk, exchange
from loraloom.captions.completeness import Matrix, Row, matrix
from loraloom.captions.edit import Edit
from loraloom.captions.exchange import Given, Shape
from loraloom.dataset import gallery, rotation
from loraloom.dataset.gallery import PAGE
from loraloom.dataset.snapshot import Contents, Picture
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CaptionEditInvalid, DatasetUnknown
from loraloom.settings import intake_limits
from loraloom.studio.thumbs import Side
from loraloom.studio.workbench import Workbench
from loraloom.web.api.datasets import Strict, Text, Version, download, state
from loraloom.web.bench import BenchNow, DatasetNow, Sha
from loraloom.web.etags import IfMatch, etag, refuse_stale
from loraloom.web.problems import ANSWERS

router = APIRouter(prefix="/datasets/{dataset}", tags=["datasets"], responses=ANSWERS)
KEPT = "private, max-age=31536000, immutable"
Words = Annotated[list[str], Field(max_length=100)]
Shas = Annotated[list[str], Field(max_length=100_000)]


class DatasetPictureBody(BaseModel):
    """One picture or clip."""

    sha256: str
    name: str
    caption: str
    concept: str
    width_px: int
    height_px: int
    kind: str
    crop: tuple[int, int, int, int] | None
    frames: int
    fps: float
    generated_by: str


class DatasetPicturePage(BaseModel):
    """Some pictures; `next` is the `after` of those behind them."""

    pictures: list[DatasetPictureBody]
    total: int
    next: str | None


class CaptionBody(Strict):
    """A caption, and the one that was there when it was written, so that none gets lost."""

    caption: str = Field(max_length=20_000)
    given: str | None = Field(default=None, max_length=20_000)


class CropBody(Strict):
    """Left, top, width and height in pixels of the upright picture; null: all of it."""

    box: tuple[int, int, int, int] | None


class SimilarBody(BaseModel):
    """A picture, and how alike it looks: the cosine of what both are from afar, at most 1."""

    sha256: str
    alike: float


class RotationBody(Strict):
    """Quarters of a turn, clockwise; -1 is a quarter to the left."""

    quarters: int = Field(ge=-3, le=3)


class EditBody(Strict):
    """What to do with the captions of pictures, in this order."""

    pictures: Shas | None = None
    """By SHA-256; none: all of the dataset."""
    replace: dict[str, str] = Field(default={}, max_length=100)
    remove: Words = Field(default=[])
    add: Words = Field(default=[])
    first: Words = Field(default=[])
    dry_run: bool = False


class MendBody(Strict):
    """Whose captions to mend."""

    pictures: Shas | None = None
    """By SHA-256; none: all of the dataset."""
    complete: bool = False
    dry_run: bool = False


class PairBody(Strict):
    """Two pictures by SHA-256."""

    pictures: tuple[str, str]


class Edited(BaseModel):
    """One caption before and after."""

    sha256: str
    before: str
    after: str


class RowBody(BaseModel):
    """One picture, and what its caption does not tell."""

    sha256: str
    name: str
    missing: list[str]


class CompletenessBody(BaseModel):
    """What captions must tell; `next` is the `after` of the rows behind these."""

    facets: list[str]
    """None where the kind asks for nothing in particular."""
    pictures: int
    incomplete: int
    rows: list[RowBody]
    next: str | None


class CaptionRow(Strict):
    """A caption, and the picture that it is of: by its file's name, or by its SHA-256."""

    name: str = Field(max_length=500)
    text: str = Field(max_length=20_000)
    concept: str = Field(default="", max_length=200)
    sha256: str = Field(default="", max_length=64)


class TakeBody(Strict):
    """Captions to be taken in."""

    captions: list[CaptionRow] = Field(default=[], max_length=100_000)
    upload: str = Field(default="", max_length=64)
    """Of a ZIP of text files, a .csv, a .jsonl or a .txt."""
    dry_run: bool = False


class TakenBody(BaseModel):
    """What became of captions that were handed in."""

    changed: list[Edited]
    same: int
    unknown: list[str]
    """Names that no picture has."""
    ambiguous: list[str]
    """Names that several pictures have."""


class SomeBody(Strict):
    """Pictures by SHA-256."""

    pictures: Shas


class IntoConcept(SomeBody):
    """Pictures that go into a concept."""

    concept: str = Field(max_length=200)


class Count(BaseModel):
    """How many pictures the dataset has now."""

    pictures: int


def rows_after(
    told: Matrix, after: str, limit: int, *, complete: bool
) -> tuple[list[Row], str | None]:
    """Some rows behind a picture, which may be mended by now, and the `after` of those behind
    them; those that leave nothing out only with `complete`."""
    places = {row.picture.sha256: place for place, row in enumerate(told.rows, 1)}
    found = [row for row in told.rows[places.get(after, 0) :] if complete or row.missing]
    return found[:limit], found[limit - 1].picture.sha256 if limit < len(found) else None


def _body(picture: Picture) -> DatasetPictureBody:
    return DatasetPictureBody(
        **{key: getattr(picture, key) for key in DatasetPictureBody.model_fields}
    )


def findings_of(bench: Workbench, stored: StoredDataset) -> gallery.Findings:
    """What the last check found, by picture; nothing where there was none."""
    report = bench.checks.report(stored)
    return report.by_picture() if report else {}


@router.get("/pictures")
def list_pictures(
    bench: BenchNow,
    stored: DatasetNow,
    q: Text = "",
    concept: Text = "",
    finding: Text = "",
    v: Version = "",
    after: Version = "",
    limit: Annotated[int, Query(ge=1, le=500)] = PAGE,
) -> DatasetPicturePage:
    """Pictures in the order of the dataset, or those that have something in common."""
    query = gallery.Query(q, concept, finding)
    found = gallery.page(state(stored, v), query, findings_of(bench, stored), after, limit)
    return DatasetPicturePage(
        pictures=list(map(_body, found.pictures)), total=found.total, next=found.next
    )


@router.get("/pictures/{sha256}")
def show_picture(
    stored: DatasetNow, sha256: Sha, response: Response, v: Version = ""
) -> DatasetPictureBody:
    """One picture, now or in a version; its ETag is for the If-Match of a change."""
    return _tagged(response, bulk.find(stored, state(stored, v), sha256))


def _tagged(response: Response, picture: Picture) -> DatasetPictureBody:
    told = _body(picture)
    response.headers["ETag"] = etag(told)
    return told


@router.get("/pictures/{sha256}/similar")
def similar(bench: BenchNow, stored: DatasetNow, sha256: Sha) -> list[SimilarBody]:
    """The pictures that look most like one, as the last check has measured them; none before."""
    bulk.find(stored, stored.working, sha256)
    found = bench.checks.similar(stored, sha256) or {}
    return [SimilarBody(sha256=other, alike=alike) for other, alike in found.items()]


@router.put("/pictures/{sha256}/caption")
def write_caption(
    stored: DatasetNow,
    sha256: Sha,
    new: CaptionBody,
    response: Response,
    if_match: IfMatch = None,
) -> DatasetPictureBody:
    """Give a picture a caption; refused where it is no longer the one that was `given` (409), or
    the picture not what If-Match says (412)."""
    picture = bulk.find(stored, stored.working, sha256)
    refuse_stale(if_match, _body(picture))
    given = new.given if if_match is None or new.given is not None else picture.caption
    return _tagged(response, bulk.set_caption(stored, sha256, new.caption, given))


@router.put("/pictures/{sha256}/crop")
def crop(stored: DatasetNow, sha256: Sha, new: CropBody, response: Response) -> DatasetPictureBody:
    """Use a part of a picture; its file stays whole."""
    stored.set_crops({sha256: new.box})
    return show_picture(stored, sha256, response)


@router.post("/pictures/{sha256}/rotation")
def rotate(
    bench: BenchNow, stored: DatasetNow, sha256: Sha, new: RotationBody, response: Response
) -> DatasetPictureBody:
    """Turn a picture with its mask and its crop; it becomes another file, of another SHA-256."""
    with bench.decoders.lent() as pool:
        found = rotation.rotate(stored, [sha256], new.quarters, pool.turn)
    return _tagged(response, found[sha256])


@router.post("/edits")
def edit_captions(stored: DatasetNow, new: EditBody) -> list[Edited]:
    """Change many captions in one step that can be undone."""
    change = Edit(
        replace=tuple(new.replace.items()), remove=tuple(new.remove), add=tuple(new.add),
        first=tuple(new.first),
    )  # fmt: skip
    if change.is_empty:
        raise CaptionEditInvalid("Say what to change: replace, remove, add or first.")
    contents = stored.working
    shas = new.pictures if new.pictures is not None else [p.sha256 for p in contents.pictures]
    found = bulk.edits(contents, set(shas), change)
    if not new.dry_run:
        bulk.write(stored, found, f"edited {len(found)} captions")
    return [Edited(sha256=one.sha256, before=one.before, after=one.after) for one in found]


@router.get("/completeness")
def completeness(
    bench: BenchNow,
    stored: DatasetNow,
    all_: Annotated[bool, Query(alias="all")] = False,
    after: Version = "",
    limit: Annotated[int, Query(ge=1, le=500)] = PAGE,
) -> CompletenessBody:
    """What captions must tell for what the dataset is for, and which of it each leaves out.

    Only those that leave something out; with `all` every picture.
    """
    aim = bench.checks.aim(stored)
    found = matrix(stored.working, aim.kind, aim.base)
    rows, more = rows_after(found, after, limit, complete=all_)
    return CompletenessBody(
        facets=list(found.facets),
        pictures=len(found.rows),
        incomplete=len(found.incomplete),
        rows=[
            RowBody(
                sha256=row.picture.sha256,
                name=row.picture.name,
                missing=[facet for facet in found.facets if facet in row.missing],
            )
            for row in rows
        ],
        next=more,
    )


@router.get("/captions", response_class=FileResponse)
def export_captions(
    bench: BenchNow, stored: DatasetNow, to: Shape = "txt", v: Version = ""
) -> FileResponse:
    """The captions alone: a ZIP of text files, or a table with file_name, text, concept, sha256."""
    contents, ending = state(stored, v), "zip" if to == "txt" else to
    return download(
        bench.cache,
        f"{stored.name}-captions.{ending}",
        {"txt": "application/zip", "csv": "text/csv"}.get(to, "application/jsonl"),
        lambda path: exchange.write(contents, to, path),
    )


@router.post("/captions")
def take_captions(bench: BenchNow, stored: DatasetNow, new: TakeBody) -> TakenBody:
    """Take captions in for pictures that are there, by SHA-256 or name, in one step that can be
    undone: those of the body, or of an upload as `GET` gives it."""
    given = [Given(**row.model_dump()) for row in new.captions]
    if new.upload:
        path, name = bench.uploads.path(new.upload), bench.uploads.get(new.upload).name
        given += exchange.read(path, name, intake_limits())
    found = exchange.take(stored.working, given)
    if not new.dry_run:
        bulk.write(stored, found.changes, f"captions of {len(found.changes)} pictures taken in")
        if new.upload:
            bench.uploads.remove(new.upload)
    return TakenBody(
        changed=[Edited(sha256=c.sha256, before=c.before, after=c.after) for c in found.changes],
        same=found.same,
        unknown=list(found.unknown),
        ambiguous=list(found.ambiguous),
    )


@router.post("/mends")
def mend_captions(bench: BenchNow, stored: DatasetNow, new: MendBody) -> list[Edited]:
    """Mend captions for what the dataset is for, in one step that can be undone.

    Leaks go, standard terms and the trigger come. With `complete`, what a caption does not tell is
    filled with neutral terms.
    """
    aim = bench.checks.aim(stored)
    only = None if new.pictures is None else frozenset(new.pictures)
    found = bulk.fixes(stored.working, aim.kind, aim.base, may_assume=new.complete, only=only)
    if not new.dry_run:
        bulk.write(stored, found, "mended captions")
    return [Edited(sha256=one.sha256, before=one.before, after=one.after) for one in found]


@router.post("/alike")
def keep_both(stored: DatasetNow, new: PairBody) -> Count:
    """Let two pictures stand that look like copies: no check tells of them any more."""
    return Count(pictures=len(stored.keep_both(*new.pictures).pictures))


@router.post("/moves")
def move(stored: DatasetNow, new: IntoConcept) -> Count:
    """Put pictures into a concept, which is made where it is new."""
    return Count(pictures=len(stored.move(new.pictures, new.concept).pictures))


@router.post("/removals")
def take_out(stored: DatasetNow, new: SomeBody) -> Count:
    """Take pictures out of the dataset; versions keep them, and undo brings them back."""
    return Count(pictures=len(stored.discard(new.pictures).pictures))


@router.get("/thumbs/{sha256}", response_class=FileResponse)
def thumb(
    request: Request, bench: BenchNow, stored: DatasetNow, sha256: Sha, px: Side = Side.CARD
) -> Response:
    """A small copy of a picture, as WebP."""
    tag = f'"{sha256}-{px:d}"'
    headers = {"Cache-Control": KEPT, "ETag": tag}
    if not stored.objects.path(sha256).is_file():
        raise DatasetUnknown(f"{stored.name} has no picture {sha256[:12]}.")
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    place = bench.thumbs.place(sha256, px)
    if not place.is_file():
        picture = known_picture(stored, sha256)
        place = bench.thumbs.of(picture, stored.objects.path(sha256), px)
    return FileResponse(place, media_type="image/webp", headers=headers)


@router.get("/originals/{sha256}", response_class=FileResponse)
def original(stored: DatasetNow, sha256: Sha) -> FileResponse:
    """The file of a picture, byte for byte, to be saved: browsers never show it."""
    picture = known_picture(stored, sha256)
    stored.objects.verify(sha256, picture.name)
    return FileResponse(
        stored.objects.path(sha256),
        media_type="application/octet-stream",
        filename=picture.name,
        headers={"Content-Security-Policy": "sandbox", "Cache-Control": "private"},
    )


def known_picture(stored: StoredDataset, sha256: str) -> Picture:
    """A picture of the dataset or of one of its versions. Raises DatasetUnknown."""
    picture = _in(stored.working, sha256)
    for info in stored.snapshots() if picture is None else ():
        picture = picture or _in(stored.read_snapshot(info.hash), sha256)
    if picture is None:
        raise DatasetUnknown(f"{stored.name} has no picture {sha256[:12]}.")
    return picture


def _in(contents: Contents, sha256: str) -> Picture | None:
    return next((p for p in contents.pictures if p.sha256 == sha256), None)
