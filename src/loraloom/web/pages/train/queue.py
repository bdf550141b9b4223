"""The queue of runs: what runs, what waits, what has ended."""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from pydantic import Field
from starlette.responses import Response

from loraloom.studio import room
from loraloom.studio.job import HELD, State, Task
from loraloom.studio.library import BIN_DAYS
from loraloom.studio.progress import gpu_of, time_left
from loraloom.studio.rights import Visibility
from loraloom.web.api.jobs import Number
from loraloom.web.pages.preferences import own
from loraloom.web.paging import Before, Words, cut
from loraloom.web.render import back, page
from loraloom.web.sharing import told
from loraloom.web.texts import translate as _
from loraloom.web.texts import translate_plural
from loraloom.web.who import PersonNow, StudioNow

router = APIRouter(prefix="/train")
SHOWN = 40
MOST_AT_ONCE = 1000
_FILTERS: dict[str, frozenset[State]] = {
    "all": frozenset(),
    "running": HELD,
    "waiting": frozenset((State.QUEUED, State.PAUSED)),
    "finished": frozenset((State.FINISHED,)),
    "failed": frozenset((State.FAILED, State.CANCELLED)),
    "bin": frozenset(),
}
Filter = Literal["all", "running", "waiting", "finished", "failed", "bin"]
Chosen = Annotated[list[Annotated[int, Field(ge=1, le=2**31 - 1)]] | None, Form(max_length=1000)]


@router.get("")
def queue(
    request: Request,
    studio: StudioNow,
    show: Filter = "all",
    before: Before = None,
    parent: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    q: Words = "",
) -> Response:
    """Runs, the newest first; in the bin jobs of all tasks."""
    in_bin = show == "bin"
    if in_bin:
        room.empty_bin(studio)
    found = studio.jobs.page(
        before=before, limit=SHOWN + 1, states=_FILTERS[show], parent=parent, trashed=in_bin,
        task=None if in_bin else Task.TRAIN, words=q,
    )  # fmt: skip
    jobs, more = cut(found, SHOWN)
    waiting = [job.id for job in studio.jobs.queue()]
    kept = {"show": show, "parent": parent, "before": before, "q": q}

    def url(**changed: object) -> str:
        told = {**kept, **changed}
        told["show"] = "" if told["show"] == "all" else told["show"]
        query = urlencode({name: value for name, value in told.items() if value not in (None, "")})
        return "/train" + ("?" + query if query else "")

    return page(
        request,
        "train/queue.html",
        jobs=jobs,
        queued_at={number: place for place, number in enumerate(waiting, 1)},
        waiting=len(waiting),
        bases={job.id: tomllib.loads(job.settings)["base"] for job in jobs},
        gpus={job.id: gpu_of(studio.jobs, job) for job in jobs if job.state in HELD},
        left={job.id: time_left(studio.jobs, job) for job in jobs if job.state in HELD},
        show=show,
        q=q,
        parent=None if parent is None else studio.jobs.get(parent),
        here=url(),
        tab=lambda value: url(show=value, before=None),
        unsearched=url(q="", before=None),
        next=url(before=more) if more else None,
        paged=before is not None,
        days=BIN_DAYS,
    )


@router.post("/trash")
def throw(
    studio: StudioNow,
    person: PersonNow,
    job: Chosen = None,
    all_failed: Annotated[bool, Form()] = False,
    then: Annotated[str, Form()] = "/train",
) -> Response:
    """Into the bin: those that are ticked, or of one's own all that failed or were cancelled."""
    chosen = set(job or ())
    if all_failed:
        ended = studio.jobs.page(states=_FILTERS["failed"], limit=MOST_AT_ONCE)
        chosen |= {one.id for one in ended if one.owner_id == person.id}
    if not chosen:
        return back(own(then), _("Tick the runs first."))
    count = len(studio.jobs.trash(chosen))
    said = translate_plural("%(num)d run is in the bin.", "%(num)d runs are in the bin.", count)
    return back(own(then), said % {"num": count})


@router.post("/restore")
def take_out(
    studio: StudioNow, job: Chosen = None, then: Annotated[str, Form()] = "/train"
) -> Response:
    """Out of the bin again."""
    for number in sorted(set(job or ())):
        studio.jobs.restore(number)
    return back(own(then), _("What was ticked is back.") if job else _("Tick the runs first."))


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
    action: Literal["cancel", "stop", "pause", "resume", "sample", "save", "trash", "restore"],
    then: Annotated[str, Form()] = "/train",
) -> Response:
    """Do what a button says, and go back to where it stood."""
    sentences = {
        "cancel": _("The job is cancelled; a running one ends after its step."),
        "stop": _("The job ends after the step at hand and keeps its adapter."),
        "pause": _("The job waits; a running one saves first."),
        "resume": _("The job goes on from its last checkpoint."),
        "sample": _("Samples are drawn after the step at hand; then it goes on."),
        "save": _("Checkpoint and adapter are written after the step at hand; then it goes on."),
        "trash": _("The job is in the bin. Its adapters in the library stay."),
        "restore": _("The job is back."),
    }
    if action == "trash":
        studio.jobs.trash([job])
    else:
        getattr(studio.jobs, action)(job)
    return back(own(then), sentences[action])
