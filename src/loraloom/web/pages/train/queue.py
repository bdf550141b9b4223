"""The queue of runs: what runs, what waits, what has ended."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from loraloom.studio.job import HELD, State
from loraloom.studio.progress import time_left
from loraloom.studio.rights import Visibility
from loraloom.web.api.jobs import Number
from loraloom.web.pages.preferences import own
from loraloom.web.paging import Before, cut
from loraloom.web.render import back, page
from loraloom.web.sharing import told
from loraloom.web.texts import translate as _
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/train")
SHOWN = 40
_FILTERS: dict[str, frozenset[State]] = {
    "all": frozenset(),
    "running": HELD,
    "waiting": frozenset((State.QUEUED, State.PAUSED)),
    "finished": frozenset((State.FINISHED,)),
    "failed": frozenset((State.FAILED, State.CANCELLED)),
}
Filter = Literal["all", "running", "waiting", "finished", "failed"]


@router.get("")
def queue(
    request: Request,
    studio: StudioNow,
    show: Filter = "all",
    before: Before = None,
    parent: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> Response:
    """Runs, the newest first."""
    found = studio.jobs.page(before=before, limit=SHOWN + 1, states=_FILTERS[show], parent=parent)
    jobs, more = cut(found, SHOWN)
    waiting = [job.id for job in studio.jobs.queue()]
    kept = {"show": show, "parent": parent, "before": before}
    here = {name: value for name, value in kept.items() if value not in (None, "all")}
    return page(
        request,
        "train/queue.html",
        jobs=jobs,
        queued_at={number: place for place, number in enumerate(waiting, 1)},
        waiting=len(waiting),
        left={job.id: time_left(studio.jobs, job) for job in jobs if job.state in HELD},
        show=show,
        parent=None if parent is None else studio.jobs.get(parent),
        here="/train" + ("?" + urlencode(here) if here else ""),
        next="/train?" + urlencode({**here, "before": more}) if more else None,
        paged=before is not None,
    )


@router.post("/{job}/move")
def move(
    studio: StudioNow,
    job: Number,
    places: Annotated[int, Form(ge=-10_000, le=10_000)],
    then: Annotated[str, Form()] = "/train",
) -> Response:
    """Earlier or later in the queue."""
    studio.jobs.move(job, places)
    return back(own(then))


@router.post("/{job}/share")
def share(studio: StudioNow, job: Number, visibility: Annotated[Visibility, Form()]) -> Response:
    """Show it to everybody with an account, or to nobody else."""
    studio.jobs.share(job, visibility)
    return back(f"/train/{job}", told(visibility))


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
