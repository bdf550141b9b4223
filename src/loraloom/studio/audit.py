"""Who changed people, tokens and settings, as owners may read it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from loraloom.studio.database import Database
from loraloom.studio.rights import Person
from loraloom.studio.tables import audit

HERE = "(this machine)"
"""In place of a name: the command line, and a studio without accounts."""


@dataclass(frozen=True)
class Entry:
    """One change."""

    id: int
    at: float
    """Seconds since 1970."""
    person: str
    action: str
    """Such as "person added"."""
    about: str


def note(connection: Connection, by: Person, action: str, about: str) -> None:
    """Add to the log, in the transaction that makes the change."""
    values = {"at": time.time(), "person": by.name or HERE, "action": action, "about": about}
    connection.execute(insert(audit).values(**values))


def newest(database: Database, limit: int = 100) -> list[Entry]:
    """The last changes, the newest first."""
    with database.reading() as connection:
        rows = connection.execute(select(audit).order_by(audit.c.id.desc()).limit(limit))
        return [Entry(**row._mapping) for row in rows]
