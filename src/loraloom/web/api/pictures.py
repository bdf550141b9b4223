"""/pictures: the playground, and /grids: comparisons."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

from loraloom.errors import PictureUnknown
from loraloom.generate import order as orders
from loraloom.studio.grids import Comparison, GridAsk
from loraloom.studio.jobs import Start
from loraloom.studio.picture import Ask, Picture
from loraloom.studio.rights import Visibility
from loraloom.web.api.jobs import IdempotencyKey, JobBody, Sharing
from loraloom.web.api.jobs import body as job_body
from loraloom.web.paging import Before, InProject, cut
from loraloom.web.problems import ANSWERS
from loraloom.web.who import StudioNow

router = APIRouter(tags=["pictures"], responses=ANSWERS)
PictureNumber = Annotated[int, Path(alias="picture", ge=1, le=2**31 - 1)]
GridNumber = Annotated[int, Path(alias="grid", ge=1, le=2**31 - 1)]


class UsedBody(BaseModel):
    """An adapter in a picture."""

    id: int
    name: str
    scale: float


class PictureBody(BaseModel):
    """One picture of the playground, drawn or to be drawn."""

    id: int
    job: int
    drawn: bool
    prompt: str
    negative: str
    base: str
    seed: int
    guidance: float | None
    steps: int | None
    width_px: int | None
    height_px: int | None
    adapters: list[UsedBody]
    starred: bool
    owner: int | None
    """The number of the person whose it is; null: the owners of the studio."""
    visibility: Visibility
    project: int | None


class PicturePage(BaseModel):
    """Some pictures, the newest first; `next` is the `before` of those behind them."""

    pictures: list[PictureBody]
    next: int | None


class GridBody(BaseModel):
    """A comparison; the file of its picture i is /grids/{id}/pictures/i, row by row."""

    id: int
    title: str
    rows: list[str]
    columns: list[str]
    drawn: int
    pictures: int
    job: JobBody


def body(picture: Picture) -> PictureBody:
    """As the API tells it."""
    own = {
        "id": picture.id, "job": picture.job.id, "drawn": picture.is_drawn,
        "starred": picture.starred, "owner": picture.owner_id, "visibility": picture.visibility,
        "project": picture.project_id,
    }  # fmt: skip
    return PictureBody.model_validate({**picture.settings, **own})


def grid_body(found: Comparison) -> GridBody:
    """As the API tells it."""
    grid = found.grid
    return GridBody(
        id=found.job.id, title=grid.title, rows=list(grid.rows), columns=list(grid.columns),
        drawn=found.drawn, pictures=len(found.order.pictures), job=job_body(found.job),
    )  # fmt: skip


@router.post("/pictures", status_code=202)
def ask_pictures(studio: StudioNow, ask: Ask, idempotency_key: IdempotencyKey = None) -> JobBody:
    """Queue pictures; /jobs/{id}/events and /events tell how they come.

    With an Idempotency-Key the same request may be sent again: it is made once.
    """
    start = Start.of(idempotency_key, ["pictures", ask.model_dump(mode="json")])
    return job_body(studio.pictures.ask(ask, start))


@router.get("/pictures")
def list_pictures(
    studio: StudioNow,
    starred: bool = False,
    job: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    project: InProject = None,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 48,
) -> PicturePage:
    """List pictures, the newest first; or those of one job, in its order."""
    if job is not None:
        own = studio.pictures.of_job(job)
        return PicturePage(pictures=[body(one) for one in own], next=None)
    found = studio.pictures.page(before=before, limit=limit + 1, starred=starred, project=project)
    shown, more = cut(found, limit)
    return PicturePage(pictures=[body(one) for one in shown], next=more)


@router.get("/pictures/{picture}")
def show_picture(studio: StudioNow, picture: PictureNumber) -> PictureBody:
    """One picture's settings."""
    return body(studio.pictures.get(picture))


@router.get("/pictures/{picture}/file", response_class=FileResponse)
def picture_file(studio: StudioNow, picture: PictureNumber, small: bool = False) -> FileResponse:
    """The PNG, or the small copy that pages show."""
    found = studio.pictures.get(picture)
    path = found.small_path if small else found.path
    if not path.is_file():
        raise PictureUnknown(f"Picture {picture} is not drawn yet.")
    return FileResponse(path, media_type="image/webp" if small else "image/png")


@router.delete("/pictures/{picture}")
def trash_picture(studio: StudioNow, picture: PictureNumber) -> PictureBody:
    """Take a picture out of the history, for 30 days."""
    return body(studio.pictures.trash(picture))


@router.post("/pictures/{picture}/restore")
def restore_picture(studio: StudioNow, picture: PictureNumber) -> PictureBody:
    """Put a picture back into the history."""
    return body(studio.pictures.restore(picture))


@router.put("/pictures/{picture}/visibility")
def share_picture(studio: StudioNow, picture: PictureNumber, given: Sharing) -> PictureBody:
    """Show a picture to everybody with an account, or to nobody else."""
    return body(studio.pictures.share(picture, given.visibility))


@router.post("/grids", status_code=202)
def start_grid(studio: StudioNow, ask: GridAsk, idempotency_key: IdempotencyKey = None) -> GridBody:
    """Queue a comparison of checkpoints and strengths by the same prompts and seeds.

    With an Idempotency-Key the same request may be sent again: it is made once.
    """
    start = Start.of(idempotency_key, ["grid", ask.model_dump(mode="json")])
    return grid_body(studio.grids.get(studio.grids.start(ask, start).id))


@router.get("/grids/{grid}")
def show_grid(studio: StudioNow, grid: GridNumber) -> GridBody:
    """One comparison."""
    return grid_body(studio.grids.get(grid))


@router.get("/grids/{grid}/sheet", response_class=FileResponse)
def grid_sheet(studio: StudioNow, grid: GridNumber) -> FileResponse:
    """All pictures of a comparison that is finished, in one PNG."""
    found = studio.grids.get(grid)
    if not found.sheet.is_file():
        raise HTTPException(404, f"Grid {grid} is not finished yet.")
    return FileResponse(found.sheet, media_type="image/png", filename=f"grid-{grid}.png")


@router.get("/grids/{grid}/pictures/{number}", response_class=FileResponse)
def grid_picture(
    studio: StudioNow,
    grid: GridNumber,
    number: Annotated[int, Path(ge=0, le=2000)],
    small: bool = False,
) -> FileResponse:
    """One picture of a comparison."""
    run = studio.grids.get(grid).job.run_folder
    path = orders.small_file(run, number) if small else orders.picture_file(run, number)
    if not path.is_file():
        raise PictureUnknown(f"Picture {number} of grid {grid} is not drawn yet.")
    return FileResponse(path, media_type="image/webp" if small else "image/png")
