"""/storage: what takes room on the disk, and giving it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from pydantic import BaseModel

from loraloom.studio import disk, room
from loraloom.studio.rights import check
from loraloom.studio.room import Room
from loraloom.web.bench import BenchNow
from loraloom.web.problems import ANSWERS
from loraloom.web.who import PersonNow, StudioNow

router = APIRouter(prefix="/storage", tags=["storage"], responses=ANSWERS)
RoomName = Annotated[Room, InPath(alias="room")]


class StoredBody(BaseModel):
    """One thing in the data folder."""

    name: str
    bytes: int
    files: int


class StorageBody(BaseModel):
    """The data folder and its disk."""

    folder: Path
    used_bytes: int
    free_bytes: int
    total_bytes: int
    parts: list[StoredBody]
    """The largest first."""
    freeable: dict[Room, int]
    """Bytes that each gives back without loss of work."""


class Freed(BaseModel):
    """What was given back."""

    bytes: int


@router.get("")
def show_storage(studio: StudioNow, bench: BenchNow, person: PersonNow) -> StorageBody:
    """Tell what takes room and what of it can be freed; for owners of the studio."""
    check(person, "manage")
    found = disk.measure(studio.data)
    return StorageBody(
        folder=studio.data, used_bytes=found.used_bytes, free_bytes=found.free_bytes,
        total_bytes=found.total_bytes,
        parts=[StoredBody(name=p.name, bytes=p.bytes, files=p.files) for p in found.parts],
        freeable=room.sizes(studio, bench.uploads, bench.imports),
    )  # fmt: skip


@router.delete("/{room}")
def free(studio: StudioNow, bench: BenchNow, person: PersonNow, name: RoomName) -> Freed:
    """Give room back: checkpoints of finished runs, thrown jobs, idle uploads, or the cache."""
    return Freed(bytes=room.free(studio, bench.uploads, bench.imports, person, name))
