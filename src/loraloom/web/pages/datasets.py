"""All datasets, new ones, and the bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from loraloom.dataset.snapshot import Contents
from loraloom.dataset.store import BIN_DAYS
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetDamaged
from loraloom.web.bench import DatasetNow
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/datasets")
COVERS = 4


@dataclass(frozen=True)
class Card:
    """One dataset in the list."""

    name: str
    contents: Contents
    versions: int
    problem: str = ""

    @property
    def covers(self) -> list[str]:
        """Pictures that stand for it."""
        pictures = self.contents.pictures
        step = max(1, len(pictures) // COVERS)
        return [picture.sha256 for picture in pictures[::step][:COVERS]]

    @property
    def captioned(self) -> int:
        """How many pictures have a caption."""
        return sum(bool(picture.caption) for picture in self.contents.pictures)


def url(name: str) -> str:
    """Where the page of a dataset is."""
    return f"/datasets/{quote(name, safe='')}"


@router.get("")
def datasets(request: Request, studio: StudioNow) -> Response:
    """All datasets, and those in the bin."""
    store = studio.datasets
    removed = dict.fromkeys(path.name.rpartition("@")[0] for path in reversed(store.removed()))
    return page(
        request,
        "datasets/list.html",
        cards=[_card(store.open(name)) for name in store.names()],
        removed=[name for name in removed if not store.has(name)],
        bin_days=BIN_DAYS,
    )


def _card(stored: StoredDataset) -> Card:
    try:
        return Card(stored.name, stored.working, len(stored.snapshots()))
    except DatasetDamaged as error:
        return Card(stored.name, Contents(), 0, str(error))


@router.post("")
def create(studio: StudioNow, name: Annotated[str, Form()] = "") -> Response:
    """A new, empty dataset."""
    made = studio.datasets.create(name.strip())
    return back(url(made.name), _("The dataset is there. Bring pictures into it."))


@router.post("/{name}/remove")
def remove(studio: StudioNow, stored: DatasetNow) -> Response:
    """Into the bin."""
    studio.datasets.remove(stored.name)
    return back("/datasets", _("The dataset lies in the bin for 30 days."))


@router.post("/{name}/recover")
def recover(studio: StudioNow, name: str) -> Response:
    """Out of the bin."""
    return back(url(studio.datasets.recover(name).name), _("The dataset is back."))
