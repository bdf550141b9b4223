"""/bases: the base models that are installed, and adding others."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel

from loraloom import families
from loraloom.bases.adding import Wish
from loraloom.families.info import PromptStyle
from loraloom.families.installed import installed
from loraloom.studio import audit, bases
from loraloom.studio.additions import Addition, Stage
from loraloom.studio.rights import Person
from loraloom.studio.studio import Studio
from loraloom.studio.workbench import Workbench
from loraloom.web.bench import BenchNow
from loraloom.web.problems import ANSWERS
from loraloom.web.who import OwnerNow, StudioNow

router = APIRouter(prefix="/bases", tags=["bases"], responses=ANSWERS)
BaseName = Annotated[str, Path(min_length=1, max_length=200)]
Number = Annotated[str, Path(alias="addition", min_length=1, max_length=200)]


class BaseBody(BaseModel):
    """One base model."""

    name: str
    title: str
    family: str
    licence: str
    native_px: int
    prompts: PromptStyle
    """What its captions and prompts are written like."""
    moves: bool
    """Whether it learns from clips."""
    card: str
    """The smallest graphics card that is said to train it; empty where nothing is said."""
    card_gib: int
    weights_mib: int
    source: str
    """The hub's id for it, where it was fetched from there."""


class HubBaseBody(BaseModel):
    """A well-known base on the hub."""

    id: str
    family: str
    licence: str
    gated: bool
    """Whether the hub wants its licence accepted, and a token."""


class AdditionBody(BaseModel):
    """A base that is being added, and how far it is."""

    id: str
    source: str
    name: str
    revision: str | None
    stage: Stage
    done_bytes: int
    total_bytes: int
    """0 where it is not known."""
    error: str
    kept_bytes: int
    """What is on the disk of it, to go on with."""


@router.get("")
def list_bases() -> list[BaseBody]:
    """List the bases that settings can name."""
    return [BaseBody.model_validate(base, from_attributes=True) for base in installed()]


@router.get("/hub")
def list_hub_bases() -> list[HubBaseBody]:
    """List well-known bases of each family on the hub; nothing is asked of it."""
    return [
        HubBaseBody(id=one.id, family=info.id, licence=one.licence, gated=one.gated)
        for info in families.all_infos()
        for one in info.on_hub
    ]


@router.post("", status_code=202)
def add_base(bench: BenchNow, studio: StudioNow, owner: OwnerNow, wish: Wish) -> AdditionBody:
    """Add a base: OWNER/NAME on the hub, or a folder or file of the server's machine.

    Asked again, it goes on with what was fetched. Only owners of the studio may.
    """
    return body(begin(bench, studio, owner, wish))


@router.get("/additions")
def list_additions(bench: BenchNow, owner: OwnerNow) -> list[AdditionBody]:
    """List the bases that are being added, and those that were left unfinished."""
    return [body(one) for one in bench.additions.all()]


@router.get("/additions/{addition}")
def show_addition(bench: BenchNow, owner: OwnerNow, addition: Number) -> AdditionBody:
    """How far it is."""
    return body(bench.additions.get(addition))


@router.delete("/additions/{addition}")
def stop_addition(bench: BenchNow, owner: OwnerNow, addition: Number) -> AdditionBody:
    """Stop adding a base; what was fetched stays, and asking for it again goes on."""
    return body(bench.additions.stop(addition))


@router.delete("/additions/{addition}/fetched", status_code=204)
def remove_fetched(bench: BenchNow, owner: OwnerNow, addition: Number) -> None:
    """Remove what was fetched of a base that is stopped."""
    bench.additions.remove(addition)


@router.delete("/{name}", status_code=204)
def remove_base(studio: StudioNow, owner: OwnerNow, name: BaseName) -> None:
    """Remove a base that no job needs; the files of a linked folder stay."""
    bases.remove(studio.jobs, studio.database, owner, name)


def begin(bench: Workbench, studio: Studio, owner: Person, wish: Wish) -> Addition:
    """Begin to add a base, and note who has."""
    one = bench.additions.begin(wish)
    with studio.database.writing() as connection:
        audit.note(connection, owner, "base asked for", wish.source)
    return one


def body(one: Addition) -> AdditionBody:
    """As programs are told."""
    own = {name: getattr(one, name, None) for name in AdditionBody.model_fields}
    wished = {"source": one.wish.source, "revision": one.wish.revision}
    return AdditionBody.model_validate({**own, **wished})
