"""Two runs side by side: what was changed, and what came of it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from loraloom.dataset import reference, snapshot
from loraloom.dataset.snapshot import Difference
from loraloom.errors import LoraloomError
from loraloom.studio import described
from loraloom.studio.datasets import Datasets
from loraloom.studio.job import Job
from loraloom.studio.progress import Progress, progress
from loraloom.studio.verdicts import LONGEST_NOTE
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.who import StudioNow

router = APIRouter()
Number = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
CHOICES = 200
EARLIER = 30


@dataclass(frozen=True)
class Pair:
    """Pictures of one prompt and seed, after the last step that both runs drew; "": none."""

    prompt: str
    a: str
    b: str


@router.get("/compare")
def compare(
    request: Request,
    studio: StudioNow,
    a: Number = None,
    b: Number = None,
    job: Annotated[list[int] | None, Query(max_length=10)] = None,
) -> Response:
    """Choose two, or look at the two chosen."""
    if job and len(job) >= 2:
        return RedirectResponse(f"/compare?a={min(job[:2])}&b={max(job[:2])}", status_code=303)
    a = a or (job[0] if job else None)
    jobs = studio.jobs.page(limit=CHOICES)
    if a is None or b is None:
        earlier = [
            (one, studio.jobs.get(one.first), studio.jobs.get(one.second))
            for one in studio.verdicts.latest(EARLIER)
        ]
        newest = [one.id for one in jobs if one.id != a]
        b = b or next(iter(newest), None)
        a = a or next((number for number in newest if number != b), None)
        return page(request, "train/compare.html", jobs=jobs, a=a, b=b, both=None, earlier=earlier)
    first, second = studio.jobs.get(a), studio.jobs.get(b)
    told = progress(studio.jobs, first), progress(studio.jobs, second)
    changes = described.changed(first, second)
    data = {name: value for name, value in changes.items() if name.startswith("data.folder")}
    step, pairs = _pairs(first, second, *told)
    return page(
        request,
        "train/compare.html",
        jobs=jobs,
        a=a,
        b=b,
        both=(first, second),
        told=told,
        count=len(described.deliberate(changes)),
        changes={name: value for name, value in changes.items() if name not in data},
        data=data,
        difference=_difference(studio.datasets, first, second) if data else None,
        step=step,
        pairs=pairs,
        verdict=studio.verdicts.of(a, b),
        longest_note=LONGEST_NOTE,
    )


@router.post("/compare")
def judge(
    studio: StudioNow,
    a: Annotated[int, Form(ge=1, le=2**31 - 1)],
    b: Annotated[int, Form(ge=1, le=2**31 - 1)],
    winner: Annotated[int, Form(ge=0, le=2**31 - 1)] = 0,
    note: Annotated[str, Form(max_length=2 * LONGEST_NOTE)] = "",
) -> Response:
    """Keep which of both is better, and why; `winner` 0: neither."""
    studio.verdicts.give(a, b, winner or None, note.replace("\r\n", "\n"))
    return back(f"/compare?a={a}&b={b}", _("Saved."))


def _pairs(a: Job, b: Job, first: Progress, second: Progress) -> tuple[int | None, list[Pair]]:
    """Samples of the same prompts, drawn with the same seeds."""
    drawn = [{samples.step: samples for samples in told.samples} for told in (first, second)]
    for one in drawn:
        one.pop(0, None)  # without the adapter
    both = sorted(drawn[0].keys() & drawn[1].keys())
    ends = [max(one, default=None) for one in drawn]
    if None in ends:
        return None, []
    steps = (both[-1], both[-1]) if both else ends
    own = [tomllib.loads(job.settings)["samples"] for job in (a, b)]
    seeds = [one.get("seed", 0) for one in own]
    pairs = []
    for place, prompt in enumerate(own[0]["prompts"]):
        other = [
            n for n, text in enumerate(own[1]["prompts"])
            if text == prompt and seeds[0] + place == seeds[1] + n
        ]  # fmt: skip
        if other:
            left = drawn[0][steps[0]].shown(place)  # type: ignore[index]
            right = drawn[1][steps[1]].shown(other[0])  # type: ignore[index]
            if left and right:
                pairs.append(Pair(prompt, left, right))
    return (both[-1] if both else None), pairs


def _difference(datasets: Datasets, a: Job, b: Job) -> Difference | None:
    """What was changed in the pictures; None where it cannot be told."""
    contents = []
    for job in (a, b):
        folder = str(tomllib.loads(job.settings)["data"].get("folder", ""))
        named = reference.REFERENCE.fullmatch(folder)
        if not named or not reference.is_stored(folder) or not datasets.has(named[1]):
            return None
        try:
            contents.append(reference.open_contents(folder)[1])
        except LoraloomError:
            return None
    return snapshot.diff(*contents)
