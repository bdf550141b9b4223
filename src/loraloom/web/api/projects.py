"""/projects: what belongs together."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from loraloom.studio.described import iso
from loraloom.studio.projects import Edit, New, Next, Project, Things
from loraloom.studio.rights import Visibility
from loraloom.web.problems import ANSWERS
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/projects", tags=["projects"], responses=ANSWERS)
ProjectNumber = Annotated[int, Path(alias="project", ge=1, le=2**31 - 1)]


class ProjectBody(BaseModel):
    """One project; times in ISO 8601, UTC."""

    id: int
    name: str
    description: str
    owner: int | None
    """The number of the person whose it is; null: the owners of the studio."""
    visibility: Visibility
    created: str
    trashed: str | None


class InsideBody(BaseModel):
    """What is in a project, of each the newest, and what is to be done next."""

    datasets: list[str]
    jobs: list[int]
    adapters: list[int]
    pictures: list[int]
    prompts: list[int]
    next: Next
    next_with: str
    """The dataset's name, or the number of what it is about."""


class Packing(BaseModel):
    """A training set to be made of a project."""

    name: str = Field(min_length=1, max_length=64)
    starred: bool = True
    """Of the drawn pictures only the starred ones."""
    sets: bool = True
    """The pictures of its datasets too."""


class Packed(BaseModel):
    """The dataset that was made."""

    dataset: str


def body(project: Project) -> ProjectBody:
    """As the API tells it."""
    return ProjectBody(
        id=project.id, name=project.name, description=project.description, owner=project.owner_id,
        visibility=project.visibility, created=iso(project.created_at) or "",
        trashed=iso(project.trashed_at),
    )  # fmt: skip


@router.get("")
def list_projects(studio: StudioNow, trashed: bool = False) -> list[ProjectBody]:
    """List the projects by name; `trashed`: those thrown away."""
    return [body(one) for one in studio.projects.all(trashed=trashed)]


@router.post("", status_code=201)
def create_project(studio: StudioNow, asked: New) -> ProjectBody:
    """Make an empty project."""
    return body(studio.projects.create(asked))


@router.get("/{project}")
def show_project(studio: StudioNow, project: ProjectNumber) -> ProjectBody:
    """One project."""
    return body(studio.projects.get(project))


@router.patch("/{project}")
def edit_project(studio: StudioNow, project: ProjectNumber, edit: Edit) -> ProjectBody:
    """Change what is given of name, description and visibility."""
    return body(studio.projects.edit(project, edit))


@router.delete("/{project}")
def trash_project(studio: StudioNow, project: ProjectNumber) -> ProjectBody:
    """Put a project into the bin for 30 days; what is in it stays where it is."""
    return body(studio.projects.trash(project))


@router.post("/{project}/restore")
def restore_project(studio: StudioNow, project: ProjectNumber) -> ProjectBody:
    """Take a project out of the bin."""
    return body(studio.projects.restore(project))


@router.get("/{project}/contents")
def show_contents(studio: StudioNow, project: ProjectNumber) -> InsideBody:
    """What is in a project, of each the newest; more by ?project= of the lists."""
    studio.projects.get(project)
    inside = studio.projects.inside(project)
    step = studio.projects.next(project, inside)
    return InsideBody(
        datasets=inside.datasets,
        jobs=[one.id for one in inside.runs],
        adapters=[one.id for one in inside.adapters],
        pictures=[one.id for one in inside.pictures],
        prompts=[one.id for one in inside.prompts],
        next=step.next,
        next_with=step.what,
    )


@router.post("/{project}/contents")
def put_in(studio: StudioNow, project: ProjectNumber, things: Things) -> InsideBody:
    """Put things into a project, out of the one where they were."""
    studio.projects.put(project, things)
    return show_contents(studio, project)


@router.post("/{project}/training-set", status_code=201)
def pack(studio: StudioNow, project: ProjectNumber, asked: Packing) -> Packed:
    """Make a dataset of the project's drawn pictures with their prompts, and of its datasets."""
    made = studio.projects.pack(project, asked.name, starred=asked.starred, sets=asked.sets)
    return Packed(dataset=made)
