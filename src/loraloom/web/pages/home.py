"""The first page: what runs, what came out, what to do next."""

from __future__ import annotations

import shutil

from fastapi import APIRouter, Request
from starlette.responses import Response

from loraloom.studio.job import HELD, State
from loraloom.web.render import page
from loraloom.web.who import StudioNow

router = APIRouter()


@router.get("/")
def home(request: Request, studio: StudioNow) -> Response:
    """What goes on."""
    jobs = studio.jobs.page(limit=50)
    studio.data.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(studio.data)
    return page(
        request,
        "home.html",
        running=[job for job in jobs if job.state in HELD],
        waiting=[job for job in jobs if job.state in (State.QUEUED, State.PAUSED)],
        finished=[job for job in jobs if job.state is State.FINISHED][:6],
        names=studio.datasets.names(),
        disk=disk,
    )
