"""/jobs: runs in the queue, how they go, and what they left."""

from __future__ import annotations

import mimetypes
from pathlib import Path as File
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse

from loraloom.studio import curves, described, draft, fixes, starting
from loraloom.studio.curves import Curves
from loraloom.studio.job import Job, Reason, Request, State, Task
from loraloom.studio.rights import Visibility
from loraloom.train.recipe import Preset
from loraloom.web.api.adapters import AdapterBody
from loraloom.web.api.adapters import body as told_of_adapter
from loraloom.web.paging import Before, InProject, Words, cut
from loraloom.web.problems import ANSWERS
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=ANSWERS)
Number = Annotated[int, Path(alias="job", ge=1, le=2**31 - 1)]
IdempotencyKey = Annotated[str | None, Header(max_length=200)]
"""Chosen by whoever asks: the same request may be sent again with it, and is made once."""


class JobBody(BaseModel):
    """One job; times in ISO 8601, UTC."""

    id: int
    task: Task
    name: str
    base: str
    state: State
    request: Request
    priority: int
    parent: int | None
    step: int
    steps: int
    attempt: int
    worker: str | None
    reason: Reason | None
    message: str | None
    folder: File
    adapter: File | None
    created: str
    started: str | None
    ended: str | None
    owner: int | None
    """The number of the person whose job it is; null: the owners of the studio."""
    visibility: Visibility
    project: int | None
    trashed: str | None
    gone: bool
    """It has left the bin for good: its files are no longer there."""


class StartBody(BaseModel):
    """A run to be started."""

    settings: dict[str, Any]
    """Those that differ from the recipe's, as TOML gives them."""
    preset: Preset = "standard"
    name: str = Field("", max_length=starting.LONGEST_NAME)
    priority: int = Field(0, ge=-9, le=9)
    """Jobs of higher priority go first."""
    parent: int | None = Field(None, ge=1, le=2**31 - 1)
    """The job whose settings these are, some changed."""


class SweepBody(BaseModel):
    """Several runs that differ in one setting."""

    setting: str = Field(max_length=100)
    """Its dotted name, such as adapter.rank."""
    values: list[str] = Field(min_length=1, max_length=starting.MOST_OF_A_SWEEP)
    """As TOML has them; other text stands for itself."""


class MoveBody(BaseModel):
    """Where to in the queue."""

    places: int = Field(ge=-10_000, le=10_000)
    """How many later; earlier below 0."""


class KeepBody(BaseModel):
    """One of the adapters that a run keeps on its way."""

    step: int = Field(ge=0, le=10**9)
    """After which it was written."""
    average: bool = False
    """The average of the weights up to there, where the run keeps one."""


class FixBody(BaseModel):
    """The same run with something changed."""

    settings: list[str]
    """As --set takes them."""
    changes: dict[str, list[Any]]
    """Dotted setting -> its old and its new value."""
    cost: str
    """What it costs beside."""


class JobPage(BaseModel):
    """Some jobs, the newest first; `next` is the `before` of those behind them."""

    jobs: list[JobBody]
    next: int | None


class EventBody(BaseModel):
    """What happened in an attempt of a job; `at` in seconds since 1970."""

    id: int
    job: int
    attempt: int
    at: float
    body: dict[str, Any]


def body(job: Job) -> JobBody:
    """As the API tells it."""
    return JobBody(**described.as_tree(job))


@router.get("")
def list_jobs(
    studio: StudioNow,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    task: Task = Task.TRAIN,
    project: InProject = None,
    trashed: bool = False,
    q: Words = "",
) -> JobPage:
    """List the jobs of a task, the newest first; `trashed`: those in the bin; `q`: whose name
    holds each of these words; "#12" is the job of that number."""
    found = studio.jobs.page(
        before=before, limit=limit + 1, task=task, project=project, trashed=trashed, words=q
    )
    shown, more = cut(found, limit)
    return JobPage(jobs=[body(job) for job in shown], next=more)


@router.post("", status_code=201, responses={200: {"description": "The key's job, from before"}})
def start_job(
    studio: StudioNow,
    asked: StartBody,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> JobBody:
    """Queue a run. A stored dataset is kept as a snapshot; all that stands in the way is told.

    With an Idempotency-Key the same request may be sent again: it is made once.
    """
    draft.refuse_paths(asked.settings, studio.datasets)
    job, made = starting.start(
        studio.jobs, asked.settings, asked.preset, name=asked.name, priority=asked.priority,
        parent=asked.parent, project=studio.datasets.project_of(asked.settings),
        key=idempotency_key, plans=studio.plans,
    )  # fmt: skip
    response.status_code = 201 if made else 200
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return body(job)


@router.get("/{job}")
def show_job(studio: StudioNow, job: Number) -> JobBody:
    """One job."""
    return body(studio.jobs.get(job))


class Toml(PlainTextResponse):
    """Settings as text."""

    media_type = "application/toml"


@router.delete("/{job}")
def trash_job(studio: StudioNow, job: Number) -> JobBody:
    """Put an ended job into the bin, where it stays for 30 days; adapters in the library stay."""
    return body(studio.jobs.trash([job])[0])


@router.post("/{job}/restore")
def restore_job(studio: StudioNow, job: Number) -> JobBody:
    """Take a job out of the bin."""
    return body(studio.jobs.restore(job))


@router.get("/{job}/settings", response_class=Toml)
def settings(studio: StudioNow, job: Number) -> Toml:
    """The complete settings of a job, as TOML."""
    return Toml(studio.jobs.get(job).settings)


@router.get("/{job}/events")
def list_events(
    studio: StudioNow,
    job: Number,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> list[EventBody]:
    """What happened to a job, in order."""
    studio.jobs.get(job)
    return [
        EventBody(id=e.id, job=e.job_id, attempt=e.attempt, at=e.at, body=dict(e.body))
        for e in studio.jobs.events(job, after=after, limit=limit)
    ]


@router.get("/{job}/curves")
def show_curves(studio: StudioNow, job: Number) -> Curves:
    """Loss, validation and learning rate as columns of at most 2,000 points."""
    studio.jobs.get(job)
    return curves.curves(studio.jobs, job)


@router.post("/{job}/sweep", status_code=201)
def sweep(studio: StudioNow, job: Number, asked: SweepBody) -> list[JobBody]:
    """Queue a run for each value of one setting, with this job as their parent."""
    made = starting.sweep(studio.jobs, studio.datasets, job, asked.setting, asked.values)
    return [body(one) for one in made]


@router.post("/{job}/adapters", status_code=201)
def keep(studio: StudioNow, job: Number, asked: KeepBody) -> AdapterBody:
    """Take the adapter that a run kept after a step into the library. Again: the same one."""
    kept = studio.library.keep(studio.jobs.get(job), asked.step, average=asked.average)
    return told_of_adapter(kept)


@router.get("/{job}/fix")
def show_fix(studio: StudioNow, job: Number) -> FixBody | None:
    """Tell what would mend a run that failed; null where no setting is at fault.

    Where memory was short it is worked out by a plan, which takes seconds.
    """
    found = fixes.fix(studio.jobs.get(job), studio.plans)
    if found is None:
        return None
    return FixBody(
        settings=list(found.settings), changes=dict(found.changes), cost="; ".join(found.costs)
    )


@router.post("/{job}/fix", status_code=201)
def queue_fixed(studio: StudioNow, job: Number) -> JobBody:
    """Queue a run that failed again with what mends it. Again: the same one."""
    return body(fixes.queue_fixed(studio.jobs, studio.datasets, studio.plans, job)[0])


@router.post("/{job}/move")
def move(studio: StudioNow, job: Number, asked: MoveBody) -> JobBody:
    """Let a waiting job go earlier or later."""
    return body(studio.jobs.move(job, asked.places))


@router.get("/{job}/log", response_class=PlainTextResponse)
def log(studio: StudioNow, job: Number) -> PlainTextResponse:
    """What the trainer of a job wrote, in all its attempts."""
    path = studio.jobs.get(job).folder / "log.txt"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return PlainTextResponse(text)


@router.get("/{job}/files/{name:path}", response_class=FileResponse)
def download(studio: StudioNow, job: Number, name: str) -> FileResponse:
    """A file of the job's run folder: adapter.safetensors, samples, adapters of single steps."""
    return run_file(studio.jobs.get(job), name)


@router.post("/{job}/cancel")
def cancel(studio: StudioNow, job: Number) -> JobBody:
    """Give a job up: at once if it waits, after the step at hand if it runs."""
    return body(studio.jobs.cancel(job))


@router.post("/{job}/stop")
def stop(studio: StudioNow, job: Number) -> JobBody:
    """End a running job after the step at hand and keep its adapter."""
    return body(studio.jobs.stop(job))


@router.post("/{job}/pause")
def pause(studio: StudioNow, job: Number) -> JobBody:
    """Let a job wait until it is resumed; one that runs saves first."""
    return body(studio.jobs.pause(job))


@router.post("/{job}/sample")
def sample(studio: StudioNow, job: Number) -> JobBody:
    """Let a run draw its samples after the step at hand, and go on; no number of it changes."""
    return body(studio.jobs.sample(job))


@router.post("/{job}/save")
def save(studio: StudioNow, job: Number) -> JobBody:
    """Let a run write a checkpoint and its adapter after the step at hand, and go on."""
    return body(studio.jobs.save(job))


@router.post("/{job}/resume")
def resume(studio: StudioNow, job: Number) -> JobBody:
    """Take up a paused or failed job from its last checkpoint."""
    return body(studio.jobs.resume(job))


class Sharing(BaseModel):
    """Who else may see a thing."""

    visibility: Visibility


@router.put("/{job}/visibility")
def share(studio: StudioNow, job: Number, given: Sharing) -> JobBody:
    """Show a job to everybody with an account, or to nobody else."""
    return body(studio.jobs.share(job, given.visibility))


def run_file(job: Job, name: str) -> FileResponse:
    """A file below the job's run folder, and no other. Raises HTTPException."""
    folder = job.run_folder.resolve()
    path = (folder / name.replace("\0", "")).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise HTTPException(404, f"The run of job {job.id} has no file {name!r}.")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    shown = kind in ("image/png", "image/jpeg", "image/webp", "video/mp4")
    return FileResponse(
        path, media_type=kind if shown else "application/octet-stream",
        filename=f"{job.name}-{path.name}" if not shown else None,
    )  # fmt: skip
