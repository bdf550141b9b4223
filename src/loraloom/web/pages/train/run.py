"""One run: how far it is, what it has left, what to do about it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from loraloom.config import Tree
from loraloom.errors import ConfigInvalid, JobUnknown, PlanFailed
from loraloom.studio import described, fixes, starting
from loraloom.studio.fixes import Fix
from loraloom.studio.job import Job, State, Task
from loraloom.studio.library import BIN_DAYS
from loraloom.studio.progress import STAGES, gpu_of, progress
from loraloom.studio.studio import Studio
from loraloom.web import form
from loraloom.web.api.jobs import Number
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.texts import translate_plural
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/train")
LOG_LINES = 60
_LOG_BYTES = 32_768


@router.get("/{job}")
def show(request: Request, studio: StudioNow, job: Number, plan: bool = False) -> Response:
    """Everything about a run; pictures that are drawn are in the playground.

    With `plan` also what takes seconds: what would be enough where memory was short.
    """
    found = studio.jobs.get(job)
    if found.task is not Task.TRAIN:
        return back("/play")
    settings = tomllib.loads(found.settings)
    parent = _parent(studio, found)
    studio.library.register()
    mended, trouble = _fix(studio, found, makes_plan=plan)
    waiting = [one.id for one in studio.jobs.queue()]
    return page(
        request,
        "train/run.html",
        job=found,
        settings=settings,
        prompts=settings.get("samples", {}).get("prompts", []),
        progress=progress(studio.jobs, found),
        gpu=gpu_of(studio.jobs, found),
        stages=STAGES,
        fix=mended,
        trouble=trouble,
        plans=plan,
        made=studio.library.kept_of(found.id),
        place=waiting.index(found.id) + 1 if found.id in waiting else None,
        running=_others(studio, found),
        parent=parent,
        changes=described.changed(parent, found),
        children=[one for one in studio.jobs.page(parent=job, limit=30) if one.id != job],
        log=_tail(found.folder / "log.txt"),
        sweepable=[one for one in form.inputs().values() if _varies(one, settings)],
        now=_value_of(settings),
        days=BIN_DAYS,
        is_stored="@" in str(settings["data"].get("folder", "")),
    )


@router.post("/{job}/fix")
def queue_fixed(studio: StudioNow, job: Number) -> Response:
    """The run again with what mends it."""
    made, new = fixes.queue_fixed(studio.jobs, studio.datasets, studio.plans, job)
    said = _("%s is in the queue.") if new else _("%s was started already.")
    return back(f"/train/{made.id}", said % made.name)


@router.post("/{job}/keep")
def keep(
    studio: StudioNow,
    job: Number,
    step: Annotated[int, Form(ge=0, le=10**9)],
    average: Annotated[bool, Form()] = False,
    tries: Annotated[bool, Form()] = False,
) -> Response:
    """Take the adapter of a step into the library; on to the playground with it, if `tries`."""
    kept = studio.library.keep(studio.jobs.get(job), step, average=average)
    if tries:
        return back(f"/play?adapter={kept.id}:{kept.scale:g}")
    return back(f"/train/{job}#files-title", _("%(name)s is in the library.") % {"name": kept.name})


@router.post("/{job}/sweep")
def sweep(
    studio: StudioNow,
    job: Number,
    setting: Annotated[str, Form(max_length=100)],
    values: Annotated[str, Form(max_length=2000)],
) -> Response:
    """A run for each value; they are shown together with their parent."""
    given = values.replace("\n", ",").split(",")
    made = starting.sweep(studio.jobs, studio.datasets, job, setting, given)
    said = translate_plural("%(num)d run was queued.", "%(num)d runs were queued.", len(made))
    return back(f"/train?parent={job}", said % {"num": len(made)})


def _fix(studio: Studio, job: Job, *, makes_plan: bool) -> tuple[Fix | None, str]:
    """What mends a run that failed, or why that is not known."""
    try:
        return fixes.fix(job, studio.plans, makes_plan=makes_plan), ""
    except (ConfigInvalid, PlanFailed) as error:
        return None, str(error)


def _parent(studio: Studio, job: Job) -> Job | None:
    try:
        return None if job.parent_id is None else studio.jobs.get(job.parent_id)
    except JobUnknown:
        return None


def _others(studio: Studio, job: Job) -> list[Job]:
    """The runs that this one waits for."""
    if job.state is not State.QUEUED:
        return []
    held = (State.PREPARING, State.TRAINING)
    return studio.jobs.page(states=held, limit=5)


def _tail(path: Path) -> str:
    """The last lines of a log."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _LOG_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.replace("\r", "\n").splitlines()[-LOG_LINES:])


def _varies(one: form.Input, settings: Tree) -> bool:
    """Whether a sweep over a setting makes sense for such a run."""
    if one.name in form.TOP - {"adapter.type"} or one.many or one.pairs:
        return False
    section, _, key = one.name.rpartition(".")
    return key in (settings.get(section, {}) if section else settings)


def _value_of(settings: Tree) -> dict[str, str]:
    """Dotted name -> its value, as it would be typed."""
    return {
        name: one.show((settings.get(section, {}) if section else settings).get(key))
        for name, one in form.inputs().items()
        for section, _, key in [name.rpartition(".")]
    }
