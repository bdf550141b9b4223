"""Which bases somebody may name, which one goes with an adapter, and taking them away."""

from __future__ import annotations

from pathlib import Path

from loraloom import families
from loraloom.bases import place
from loraloom.errors import BaseKept, BaseUnknown, ConfigInvalid
from loraloom.families.installed import Base, describe, installed
from loraloom.files import kind_at
from loraloom.settings import base_folders, bases_folder, linked_folder
from loraloom.studio import audit
from loraloom.studio.database import Database
from loraloom.studio.job import HELD, State
from loraloom.studio.jobs import Jobs
from loraloom.studio.rights import Person, check


def for_adapter(base: str, family: str) -> Base | None:
    """The base that an adapter was made for, else one of its family; None: none is installed."""
    if base and (base in base_folders() or kind_at(Path(base)) == "folder"):
        try:
            return describe(base)
        except BaseUnknown:
            pass
    return next((one for one in installed() if one.family_id == family), None)


def refuse_folder(person: Person, name: str) -> None:
    """Raise ConfigInvalid where a folder is named by somebody who does not own the studio."""
    if person.is_owner or not name or name in base_folders():
        return
    if name not in {info.id for info in families.all_infos()}:
        raise ConfigInvalid(
            f"{name[:200]!r} is not possible here: name an installed base. Only an owner of this "
            "studio may name folders."
        )


def remove(jobs: Jobs, database: Database, person: Person, name: str) -> None:
    """Take a base away that no job waits for or works with; of a link, the link.

    Raises Forbidden, BaseKept, BaseUnknown, OutputUnwritable.
    """
    check(person, "manage")
    at_work = (*HELD, State.QUEUED, State.PAUSED)
    needed = jobs.naming(name, at_work)
    if not linked_folder(name):  # or by its path, which goes with it
        needed += jobs.naming(str((bases_folder() / name).resolve()), at_work)
    if needed:
        raise BaseKept(
            f"Job {needed[-1]} needs the base {name!r}. Let it end or cancel it, then remove the "
            "base."
        )
    place.remove(name)
    with database.writing() as connection:
        audit.note(connection, person, "base removed", name)
