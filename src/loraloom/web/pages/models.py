"""/settings/models: the base models, and adding others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from loraloom import families
from loraloom.bases import place
from loraloom.bases.adding import Wish
from loraloom.config_tree import as_model
from loraloom.families.installed import Base, installed
from loraloom.settings import STARTER, bases_folder, linked_folder
from loraloom.studio import bases
from loraloom.studio.job import Task
from loraloom.studio.studio import Studio
from loraloom.web.api.bases import BaseName, Number, begin
from loraloom.web.bench import BenchNow
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.who import OwnerNow, PersonNow, StudioNow

router = APIRouter(prefix="/settings/models")
HERE = "/settings/models"


@dataclass(frozen=True)
class Shown:
    """An installed base."""

    base: Base
    runs: int
    """Trainings that name it, of those that one may see."""
    link: Path | None
    """The folder elsewhere that it is."""

    @property
    def can_go(self) -> bool:
        """Whether it can be removed."""
        return self.base.name != STARTER


@router.get("")
def show(request: Request, studio: StudioNow, bench: BenchNow, person: PersonNow) -> Response:
    """Those that are here, those on their way, and where others are."""
    found = [_shown(studio, base) for base in installed()]
    known = {one.base.source for one in found} | {one.base.name for one in found}
    return page(
        request,
        "settings/models.html",
        tab="models",
        bases=found,
        lost=place.lost_links() if person.is_owner else {},
        additions=bench.additions.all() if person.is_owner else [],
        on_hub=[info for info in families.all_infos() if info.on_hub],
        known=known,
        folder=bases_folder(),
    )


def _shown(studio: Studio, base: Base) -> Shown:
    runs = len(studio.jobs.naming(base.name, task=Task.TRAIN))
    return Shown(base, runs, linked_folder(base.name))


@router.post("")
def add(
    studio: StudioNow,
    bench: BenchNow,
    owner: OwnerNow,
    source: Annotated[str, Form(max_length=1000)] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    revision: Annotated[str, Form(max_length=200)] = "",
    prediction: Annotated[Literal["", "epsilon", "v_prediction"], Form()] = "",
) -> Response:
    """Begin to add a base, or go on with one."""
    tree = {"source": source.strip(), "name": name.strip() or None,
            "revision": revision.strip() or None, "prediction": prediction or None}  # fmt: skip
    begin(bench, studio, owner, as_model(Wish, tree, "This cannot be a base"))
    return back(HERE)


@router.post("/additions/{addition}/stop")
def stop(bench: BenchNow, owner: OwnerNow, addition: Number) -> Response:
    """Stop it, and tell of it no more; what was fetched stays."""
    one = bench.additions.stop(addition)
    told = _("Stopped; what was fetched is kept.") if one.is_working else ""
    return back(HERE, told)


@router.post("/additions/{addition}/remove")
def remove_fetched(bench: BenchNow, owner: OwnerNow, addition: Number) -> Response:
    """Remove what was fetched of one that is stopped."""
    bench.additions.remove(addition)
    return back(HERE)


@router.post("/{name}/remove")
def remove(studio: StudioNow, owner: OwnerNow, name: BaseName) -> Response:
    """Remove a base that no job needs."""
    bases.remove(studio.jobs, studio.database, owner, name)
    return back(HERE, _("%(name)s is removed.") % {"name": name})
