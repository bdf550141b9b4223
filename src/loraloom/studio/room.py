"""Giving room on the disk back: old jobs, what only a run that goes on needs, small copies."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from loraloom.errors import LoraloomError
from loraloom.files import telling_failures
from loraloom.studio import disk
from loraloom.studio.imports import Imports
from loraloom.studio.job import State, Task
from loraloom.studio.library import BIN_DAYS
from loraloom.studio.rights import ALONE, Person, check
from loraloom.studio.studio import Studio
from loraloom.studio.uploads import Uploads

_LOG = logging.getLogger("loraloom.studio")


class Room(StrEnum):
    """What can be freed without loss of work."""

    CHECKPOINTS = "checkpoints"  # of finished runs, and their latents: nothing goes on from them
    BIN = "bin"  # jobs that were thrown away
    UPLOADS = "uploads"  # in no import, of people who have sent no byte for an hour
    CACHE = "cache"  # small pictures and measures, which are made again


def sizes(studio: Studio, uploads: Uploads, imports: Imports) -> dict[Room, int]:
    """Bytes that freeing each would give back."""
    thrown = studio.seen_by(ALONE).jobs.thrown()
    return {
        Room.CHECKPOINTS: sum(map(disk.bytes_in, _only_to_go_on(studio))),
        Room.BIN: sum(disk.bytes_in(job.folder) for job in thrown),
        Room.UPLOADS: sum(
            upload.offset for upload in uploads.seen_by(ALONE).idle(imports.uploads())
        ),
        Room.CACHE: disk.bytes_in(_cache(studio)),
    }


def free(studio: Studio, uploads: Uploads, imports: Imports, person: Person, room: Room) -> int:
    """Remove it now; the bytes that were given back. Raises Forbidden for who is no owner."""
    check(person, "manage")
    match room:
        case Room.CHECKPOINTS:
            return _removed(_only_to_go_on(studio))
        case Room.BIN:
            return empty_bin(studio, days=0)
        case Room.UPLOADS:
            return uploads.seen_by(ALONE).give_up_idle(imports.uploads())
        case Room.CACHE:
            return _emptied(_cache(studio))


def empty_bin(studio: Studio, *, days: float = BIN_DAYS) -> int:
    """Remove the files of jobs that were thrown away so long ago; their bytes.

    Their rows stay, and so does what the library has of them: adapters lie in folders of their own,
    and covers are kept there. A job of which that fails stays.
    """
    everybodys, freed = studio.seen_by(ALONE), 0
    before = time.time() - days * 24 * 3600
    for job in everybodys.jobs.thrown(before):
        try:
            everybodys.library.register(job.id)  # also what nobody has seen in the library yet
            everybodys.library.keep_covers(job.folder)
            if everybodys.jobs.give_up(job.id, before):
                freed += _removed([job.folder])
        except (LoraloomError, OSError) as error:  # such as a full disk, which the next may mend
            _LOG.warning("job %s stays in the bin for now: %s", job.id, error)
    return freed


def _only_to_go_on(studio: Studio) -> list[Path]:
    """What finished runs, which never go on, hold for that."""
    runs = studio.data / "jobs"
    held = [path for name in ("checkpoints", "cache") for path in runs.glob(f"*/run/{name}/")]
    if not held:
        return []
    jobs = studio.seen_by(ALONE).jobs
    ended = jobs.page(states=[State.FINISHED], task=Task.TRAIN, limit=100_000)
    folders = {job.run_folder for job in ended}
    return [path for path in held if path.parent in folders]


def _cache(studio: Studio) -> Path:
    return studio.data / "cache"


def _removed(folders: Iterable[Path]) -> int:
    freed = 0
    for folder in folders:
        freed += disk.bytes_in(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def _emptied(folder: Path) -> int:
    """Its files, but for those of this hour that are on their way; the folders stay for those who
    are just writing into them. Raises OutputUnwritable."""
    freed, lately = 0, time.time() - 3600
    for at, _, names in os.walk(folder):
        on_its_way = "exports" in Path(at).relative_to(folder).parts
        for path in (Path(at) / name for name in names):
            with telling_failures(path), suppress(FileNotFoundError):
                facts = path.stat()
                if facts.st_mtime < lately or not (on_its_way or path.name.startswith(".")):
                    path.unlink()
                    freed += facts.st_size
    return freed
