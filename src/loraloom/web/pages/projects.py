"""Projects: all of them, and each with what is in it and what to do next."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from loraloom.studio.library import BIN_DAYS
from loraloom.studio.projects import Edit, New, Things
from loraloom.studio.rights import Visibility
from loraloom.web.api.projects import ProjectNumber
from loraloom.web.checked import checked
from loraloom.web.pages.datasets import url as dataset_url
from loraloom.web.pages.preferences import own
from loraloom.web.render import back, page
from loraloom.web.sharing import told
from loraloom.web.texts import translate as _
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/projects")
Kind = Literal["datasets", "adapters", "pictures", "prompts", "jobs"]


@router.get("")
def show_all(request: Request, studio: StudioNow) -> Response:
    """All projects, each with its next step, and those in the bin."""
    studio.projects.empty_bin()
    return page(
        request, "projects/list.html", projects_here=studio.projects.overview(),
        removed=studio.projects.all(trashed=True), days=BIN_DAYS,
    )  # fmt: skip


@router.post("")
def create(
    studio: StudioNow,
    name: Annotated[str, Form()] = "",
    description: Annotated[str, Form()] = "",
) -> Response:
    """A new, empty project."""
    made = studio.projects.create(checked(New, {"name": name, "description": description}))
    return back(f"/projects/{made.id}", _("The project is there. Put into it what belongs to it."))


@router.post("/put")
def put(
    studio: StudioNow,
    kind: Annotated[Kind, Form()],
    thing: Annotated[str, Form(max_length=200)],
    into: Annotated[int | None, Form(ge=1, le=2**31 - 1)] = None,
    then: Annotated[str, Form()] = "/projects",
) -> Response:
    """Put one thing into a project, or with none into no project."""
    studio.projects.put(into, checked(Things, {kind: [thing]}))
    return back(own(then), _("It is in the project.") if into else _("It is in no project now."))


@router.get("/{project}")
def show(request: Request, studio: StudioNow, project: ProjectNumber) -> Response:
    """One project."""
    found = studio.projects.get(project)
    inside = studio.projects.inside(project)
    free = [n for n in studio.datasets.names() if n not in inside.datasets]
    return page(
        request,
        "projects/project.html",
        project=found,
        inside=inside,
        step=studio.projects.next(project, inside),
        free=[name for name in free if studio.datasets.is_own(name)],
        starred=studio.pictures.count(project, starred=True),
        drawn=any(picture.is_drawn for picture in inside.pictures),
    )


@router.post("/{project}")
def edit(
    studio: StudioNow,
    project: ProjectNumber,
    name: Annotated[str, Form()],
    description: Annotated[str, Form()] = "",
) -> Response:
    """Keep what the form says."""
    studio.projects.edit(project, checked(Edit, {"name": name, "description": description}))
    return back(f"/projects/{project}", _("Kept."))


@router.post("/{project}/dataset")
def new_dataset(
    studio: StudioNow, project: ProjectNumber, name: Annotated[str, Form()] = ""
) -> Response:
    """An empty dataset in the project."""
    studio.projects.get(project)
    made = studio.datasets.create(name.strip())
    studio.projects.put(project, Things(datasets=[made.name]))
    return back(dataset_url(made.name), _("The dataset is there. Bring pictures into it."))


@router.post("/{project}/pack")
def pack(
    studio: StudioNow,
    project: ProjectNumber,
    name: Annotated[str, Form(max_length=200)] = "",
    which: Annotated[Literal["starred", "all"], Form()] = "starred",
    sets: Annotated[bool, Form()] = False,
) -> Response:
    """Make a training set of it."""
    made = studio.projects.pack(project, name.strip(), starred=which == "starred", sets=sets)
    return back(
        dataset_url(made), _("The training set is there: look at the captions, then train.")
    )


@router.post("/{project}/share")
def share(
    studio: StudioNow, project: ProjectNumber, visibility: Annotated[Visibility, Form()]
) -> Response:
    """Show it to everybody with an account, or to nobody else."""
    studio.projects.edit(project, Edit(visibility=visibility))
    return back(f"/projects/{project}", told(visibility))


@router.post("/{project}/{action}")
def throw(
    studio: StudioNow, project: ProjectNumber, action: Literal["trash", "restore"]
) -> Response:
    """Into the bin or out of it."""
    if action == "restore":
        studio.projects.restore(project)
        return back(f"/projects/{project}", _("The project is back."))
    studio.projects.trash(project)
    return back("/projects", _("The project is in the bin; what was in it is where it was."))
