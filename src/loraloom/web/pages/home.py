"""The first page, the welcome to a new studio, and the guide."""

from __future__ import annotations

import shutil
from functools import cache

from fastapi import APIRouter, Request
from starlette.responses import Response

from loraloom import kinds
from loraloom.kinds import Kind
from loraloom.settings import base_folders
from loraloom.studio import example, slot
from loraloom.studio.job import HELD, State
from loraloom.studio.projects import Next, Project, Step
from loraloom.studio.studio import Studio
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.who import StudioNow

router = APIRouter()
SHOWN = 6


@router.get("/")
def home(request: Request, studio: StudioNow) -> Response:
    """What runs, what came out, what to do next; a new studio's is the welcome."""
    jobs = studio.jobs.page(limit=100)
    names = studio.datasets.names()
    if not jobs and not names:
        return welcome(request, studio)
    finished = [job for job in jobs if job.state is State.FINISHED][:SHOWN]
    studio.library.register()
    made = [studio.library.of_job(job.id) for job in finished]
    used = {job.name for job in jobs}
    kept = {project.id for project in studio.projects.all()}
    return page(
        request,
        "home.html",
        running=[job for job in jobs if job.state in HELD],
        waiting=[job for job in jobs if job.state in (State.QUEUED, State.PAUSED)],
        failed=[job for job in jobs if job.state is State.FAILED][:SHOWN],
        finished=finished,
        made={adapter.job_id: adapter for adapter in made if adapter and not adapter.trashed_at},
        pictures=[one for one in studio.pictures.page(limit=2 * SHOWN) if one.is_drawn],
        projects_here=_projects(studio),
        untrained=[
            name
            for name in names
            if name not in used and studio.datasets.belonging(name).project_id not in kept
        ][:SHOWN],
        disk=shutil.disk_usage(studio.data),
    )


def _projects(studio: Studio) -> list[tuple[Project, Step]]:
    """The newest projects with what is to be done next in each."""
    found = [(one, step) for one, _inside, step in studio.projects.overview(SHOWN)]
    return [pair for pair in found if pair[1].next is not Next.NOTHING]


@router.get("/welcome")
def welcome(request: Request, studio: StudioNow) -> Response:
    """What there is on this machine, and two ways to begin."""
    studio.data.mkdir(parents=True, exist_ok=True)
    return page(
        request,
        "welcome.html",
        disk=shutil.disk_usage(studio.data),
        folder=studio.data,
        gpus=_gpus(),
        bases=list(base_folders()),
    )


@router.post("/welcome/example")
def try_example(studio: StudioNow) -> Response:
    """Add the example's pictures and train on them."""
    job = example.start_example(studio)
    return back(
        f"/train/{job.id}",
        _("The example is in your datasets, and its training is in the queue."),
    )


@router.get("/guide")
def guide(request: Request) -> Response:
    """How to make a good adapter, by kind and by symptom."""
    infos = [(kind, kinds.info(kind)) for kind in Kind]
    return page(request, "guide.html", kinds=infos, clips=kinds.clips())


@cache
def _gpus() -> int:
    return len(slot.gpus())
