"""The queue of runs and what can be done with each."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from loraloom.web.api.jobs import Number
from loraloom.web.pages.preferences import own
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/train")


@router.get("")
def queue(request: Request, studio: StudioNow) -> Response:
    """All runs, the newest first."""
    return page(request, "train/queue.html", jobs=studio.jobs.page(limit=200))


@router.post("/{job}/{action}")
def steer(
    studio: StudioNow,
    job: Number,
    action: Literal["cancel", "stop", "pause", "resume"],
    then: Annotated[str, Form()] = "/train",
) -> Response:
    """Do what a button says, and go back to where it stood."""
    sentences = {
        "cancel": _("The job is cancelled; a running one ends after its step."),
        "stop": _("The job ends after the step at hand and keeps its adapter."),
        "pause": _("The job waits; a running one saves first."),
        "resume": _("The job goes on from its last checkpoint."),
    }
    getattr(studio.jobs, action)(job)
    return back(own(then), sentences[action])
