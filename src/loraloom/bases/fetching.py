"""A base from the hub: looked at first, then fetched beside, then moved into its place.

What an interrupted call has fetched stays in a folder that is no base, and the next call goes on
with it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loraloom import families, hub
from loraloom.bases import place
from loraloom.bases.selection import Selection, index_of, is_weights, select
from loraloom.config_tree import toml_line
from loraloom.dataset.lock import locked
from loraloom.errors import BaseUnknown, DiskFull, LoraloomError
from loraloom.families.info import FamilyInfo
from loraloom.families.installed import describe
from loraloom.families.parts import read_model_index
from loraloom.files import sync_folder, telling_failures, write_atomic
from loraloom.hub import Repository
from loraloom.settings import bases_folder

Progress = Callable[[int, int], None]
"""Told the bytes that are there, and all of them."""
_KEPT_FREE_BYTES = 256 * 2**20
"""Left on the disk for everything else."""
_ASKED = "asked.json"


@dataclass(frozen=True)
class Fetched:
    """A base that came from the hub."""

    folder: Path
    info: FamilyInfo
    variants: tuple[str, ...]
    """Of its weights, where there were no plain ones, such as "fp16"."""


@dataclass(frozen=True)
class Unfinished:
    """What an interrupted call has left."""

    hub_id: str
    name: str
    revision: str
    """As it was asked for; "" for the main branch."""
    there_bytes: int
    total_bytes: int


def fetch(
    hub_id: str,
    name: str | None = None,
    revision: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Fetched:
    """Fetch a diffusers folder of the hub, whole or not at all under its name.

    Raises HubRefused, BaseUnknown (no base of a family, before its weights), BaseNameInvalid,
    OutputExists, DiskFull, OutputUnwritable; DatasetBusy while another process fetches the same.
    """
    short = hub_id.partition("/")[2]
    place.free_folder(name or short)
    ours = _ours(hub_id)
    with locked(ours.with_name(f"{ours.name}.lock"), hub_id, wait_s=0):
        repository = hub.look(hub_id, revision)
        # Named as on the hub: by that name a family may tell which variant it is.
        beside = ours / repository.commit / short
        _leave_only(ours, repository.commit)
        try:
            selection, info = _look_into(repository, beside)
        except LoraloomError:
            if not (ours / _ASKED).exists():
                shutil.rmtree(ours, ignore_errors=True)
            raise
        told = {"hub_id": hub_id, "name": name or short, "revision": revision or "",
                "total_bytes": selection.total_bytes}  # fmt: skip
        write_atomic(ours / _ASKED, json.dumps(told).encode())
        _refuse_small_disk(selection, beside)
        _fetch_all(repository, selection, beside, progress)
        place.whole_base(beside)
        _note_source(repository, beside, info, renamed=name not in (None, short))
        folder = place.free_folder(name or short)
        with telling_failures(folder):
            beside.rename(folder)
            sync_folder(folder.parent)
        shutil.rmtree(ours, ignore_errors=True)
    return Fetched(folder, info, tuple(sorted(set(selection.variants.values()))))


def unfinished() -> list[Unfinished]:
    """What interrupted calls have left, or a call under way has fetched so far."""
    found = []
    for file in sorted(_partial().glob(f"*/{_ASKED}")):
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            there = sum(p.stat().st_size for p in file.parent.rglob("*") if p.is_file())
            found.append(Unfinished(**told, there_bytes=there))
        except (OSError, ValueError, TypeError):
            continue  # being moved into its place
    return found


def forget(hub_id: str) -> None:
    """Remove what an interrupted call has left. Raises BaseUnknown, DatasetBusy."""
    ours = _ours(hub_id)
    if not hub.is_hub_id(hub_id) or not ours.is_dir():
        raise BaseUnknown(f"Nothing of {hub_id[:200]!r} was begun to be fetched.")
    with (
        locked(ours.with_name(f"{ours.name}.lock"), hub_id, wait_s=0),
        telling_failures(ours),
    ):
        shutil.rmtree(ours)


def _partial() -> Path:
    return bases_folder() / ".partial"


def _ours(hub_id: str) -> Path:
    """A folder of its own for each repository; no name on the hub has two dashes in a row."""
    return _partial() / hub_id.replace("/", "--")


def _leave_only(ours: Path, commit: str) -> None:
    """Remove what was begun of another state of the repository."""
    for old in ours.glob("*"):
        if old.is_dir() and old.name != commit:
            shutil.rmtree(old, ignore_errors=True)


def _look_into(repository: Repository, beside: Path) -> tuple[Selection, FamilyInfo]:
    """Fetch what is small; what else is wanted, and the family. Raises BaseUnknown."""
    first = index_of(repository)
    hub.fetch(repository, first, beside / first.path)
    index = read_model_index(beside)
    try:
        selection = select(repository, families.detect(beside).info, index)
        for file in selection.files:
            if not is_weights(file):
                hub.fetch(repository, file, beside / file.path)
        info = families.detect(beside).info
        describe(str(beside))
    except BaseUnknown as error:
        raise BaseUnknown(str(error).replace(str(beside), repository.hub_id)) from error
    return select(repository, info, index), info


def _refuse_small_disk(selection: Selection, beside: Path) -> None:
    there = sum(path.stat().st_size for path in beside.rglob("*") if path.is_file())
    needed, free = selection.total_bytes - there, shutil.disk_usage(beside).free
    if needed + _KEPT_FREE_BYTES > free:
        raise DiskFull(
            f"{needed / 2**30:.1f} GiB are still to be fetched, and {free / 2**30:.1f} GiB are "
            f"free at {bases_folder()}. Free some space, or name a data folder on a larger disk "
            "with LORALOOM_HOME."
        )


def _fetch_all(
    repository: Repository, selection: Selection, beside: Path, progress: Progress
) -> None:
    done = 0

    def took(count: int) -> None:
        nonlocal done
        done += count
        progress(done, selection.total_bytes)

    for file in selection.files:
        hub.fetch(repository, file, beside / file.path, took)


def _note_source(repository: Repository, beside: Path, info: FamilyInfo, *, renamed: bool) -> None:
    """Where it is from; and under another name what its own told."""
    facts = {"source": repository.hub_id, "revision": repository.commit}
    variant = families.get(info.id).variant(beside) if renamed else ""
    facts |= {"variant": variant} if variant else {}
    lines = [toml_line(key, value) for key, value in facts.items()]
    write_atomic(beside / "loraloom.toml", ("\n".join(lines) + "\n").encode())
