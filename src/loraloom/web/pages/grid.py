"""Comparisons of checkpoints and strengths."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, Response

from loraloom.errors import LoraloomError
from loraloom.families.installed import installed
from loraloom.generate import order as orders
from loraloom.studio.grids import GridAsk
from loraloom.studio.library import BIN_DAYS, Filter
from loraloom.studio.rights import Visibility
from loraloom.web.api.pictures import GridNumber
from loraloom.web.checked import checked
from loraloom.web.render import back, page, part
from loraloom.web.sharing import told
from loraloom.web.texts import translate as _
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/grid")
Given = Annotated[str, Query(max_length=8000)]
Field = Annotated[str, Form(max_length=8000)]


@router.get("")
def grids(request: Request, studio: StudioNow) -> Response:
    """The latest ones."""
    return page(request, "grid/grids.html", grids=studio.grids.latest(60))


@router.get("/new")
def new(
    request: Request,
    studio: StudioNow,
    adapter: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    step: Annotated[list[int] | None, Query(max_length=60)] = None,
    scales: Given = "0.6, 0.8, 1",
    prompts: Given = "",
    seed: Given = "0",
    seeds: Given = "1",
    base: Given = "",
    size_px: Given = "",
    denoising_steps: Given = "",
    guidance: Given = "",
) -> Response:
    """The form, filled from the address, with what it would cost."""
    offered = studio.library.page(Filter(), limit=200)
    found = studio.library.get(adapter) if adapter else next(iter(offered), None)
    form = {
        "scales": scales, "prompts": prompts, "seed": seed, "seeds": seeds, "base": base,
        "size_px": size_px, "denoising_steps": denoising_steps, "guidance": guidance,
    }  # fmt: skip
    checkpoints = list(studio.grids.checkpoints(found)) if found else []
    if found and not prompts:
        form["prompts"] = "\n".join(found.ideas) or found.trigger
    cost, problem = None, ""
    try:
        if found and form["prompts"].strip():
            cost = _ask(found.id, step or [0], form)
            studio.grids.order(cost)
    except LoraloomError as error:
        problem = str(error)
    return page(
        request,
        "grid/new.html",
        adapter=found,
        offered=offered,
        checkpoints=checkpoints,
        chosen=step or [0],
        form=form,
        bases=installed(),
        cost=cost,
        problem=problem,
    )


@router.post("/new")
def start(
    studio: StudioNow,
    adapter: Annotated[int, Form(ge=1, le=2**31 - 1)],
    step: Annotated[list[int] | None, Form()] = None,
    scales: Field = "1",
    prompts: Field = "",
    seed: Field = "0",
    seeds: Field = "1",
    base: Field = "",
    size_px: Field = "",
    denoising_steps: Field = "",
    guidance: Field = "",
) -> Response:
    """Queue it."""
    form = {
        "scales": scales, "prompts": prompts, "seed": seed, "seeds": seeds, "base": base,
        "size_px": size_px, "denoising_steps": denoising_steps, "guidance": guidance,
    }  # fmt: skip
    job = studio.grids.start(_ask(adapter, step or [0], form))
    return back(f"/grid/{job.id}", _("The grid is in the queue; it fills as it is drawn."))


@router.get("/{grid}")
def show(request: Request, studio: StudioNow, grid: GridNumber) -> Response:
    """A comparison as it stands."""
    found = studio.grids.get(grid)
    waits = found.job.state == "queued"
    held = studio.pictures.in_the_way() if waits else None
    return page(request, "grid/grid.html", found=found, job=found.job, held=held, days=BIN_DAYS)


@router.post("/{grid}/share")
def share(
    studio: StudioNow, grid: GridNumber, visibility: Annotated[Visibility, Form()]
) -> Response:
    """Show it to everybody with an account, or to nobody else."""
    studio.jobs.share(studio.grids.get(grid).job.id, visibility)
    return back(f"/grid/{grid}", told(visibility))


@router.get("/{grid}/page.html")
def as_page(studio: StudioNow, grid: GridNumber) -> Response:
    """The comparison as one file that needs nothing else."""
    found = studio.grids.get(grid)
    run = found.job.run_folder

    def inside(number: int) -> str:
        """A small copy within the page."""
        content = orders.small_file(run, number).read_bytes()
        return f"data:image/webp;base64,{base64.b64encode(content).decode()}"

    html = part("grid/page.html", found=found, inside=inside)
    name = f"grid-{grid}.html"
    return HTMLResponse(html, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _ask(adapter: int, steps: list[int], form: dict[str, str]) -> GridAsk:
    values: dict[str, Any] = {name: value for name, value in form.items() if value.strip()}
    values["scales"] = [one for one in form["scales"].replace(",", " ").split() if one]
    values["prompts"] = form["prompts"].splitlines()
    return checked(GridAsk, {"adapter": adapter, "steps": steps, **values})
