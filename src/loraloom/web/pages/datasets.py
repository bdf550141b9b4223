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
from loraloom.studio.datasets import Belonging, Datasets
from loraloom.studio.rights import Visibility
from loraloom.web.bench import DatasetNow, Name
from loraloom.web.paging import Words
from loraloom.web.render import back, page
from loraloom.web.sharing import told
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
    whose: Belonging
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
def datasets(request: Request, studio: StudioNow, q: Words = "") -> Response:
    """All datasets, or those whose name holds each of the words, and those in the bin."""
    store, words = studio.datasets, q.casefold().split()
    removed = dict.fromkeys(path.name.rpartition("@")[0] for path in reversed(store.removed()))
    return page(
        request,
        "datasets/list.html",
        cards=[
            _card(store, store.open(name))
            for name in store.names()
            if all(word in name.casefold() for word in words)
        ],
        q=q,
        removed=[name for name in removed if store.is_free(name)],
        bin_days=BIN_DAYS,
    )


def _card(store: Datasets, stored: StoredDataset) -> Card:
    whose = store.belonging(stored.name)
    try:
        return Card(stored.name, stored.working, len(stored.snapshots()), whose)
    except DatasetDamaged as error:
        return Card(stored.name, Contents(), 0, whose, str(error))


@router.post("")
def create(studio: StudioNow, name: Annotated[str, Form()] = "") -> Response:
    """A new, empty dataset."""
    made = studio.datasets.create(name.strip())
    return back(url(made.name), _("The dataset is there. Bring pictures into it."))


@router.post("/{dataset}/remove")
def remove(studio: StudioNow, stored: DatasetNow) -> Response:
    """Into the bin."""
    studio.datasets.remove(stored.name)
    return back("/datasets", _("The dataset lies in the bin for 30 days."))


@router.post("/{dataset}/share")
def share(
    studio: StudioNow, stored: DatasetNow, visibility: Annotated[Visibility, Form()]
) -> Response:
    """Show it to everybody with an account, or to nobody else."""
    studio.datasets.share(stored.name, visibility)
    return back(url(stored.name), told(visibility))


@router.post("/{dataset}/recover")
def recover(studio: StudioNow, name: Name) -> Response:
    """Out of the bin."""
    return back(url(studio.datasets.recover(name).name), _("The dataset is back."))
