"""Sessions: browsers in which somebody has signed in."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from loraloom.errors import EntryUnknown
from loraloom.studio import secret
from loraloom.studio.database import Database
from loraloom.studio.people import Account
from loraloom.studio.rights import Person, Role
from loraloom.studio.tables import people, sessions

LASTS_S = 30 * 24 * 3600.0
SEEN_S = 300.0
"""How exact it is noted when a session was last seen: not every request writes."""


@dataclass(frozen=True)
class Session:
    """One browser; times in seconds since 1970."""

    id: int
    browser: str
    """What it says of itself."""
    address: str
    created_at: float
    seen_at: float
    expires_at: float


class Sessions:
    """All sessions of an installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, account: Account, browser: str, address: str) -> str:
        """Sign somebody in, and forget what has expired; the secret that the browser keeps."""
        given, kept = secret.made()
        now = time.time()
        values = {
            "person_id": account.id, "secret": kept, "browser": browser.replace("\0", "")[:300],
            "address": address[:60], "created_at": now, "seen_at": now, "expires_at": now + LASTS_S,
        }  # fmt: skip
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            connection.execute(insert(sessions).values(**values))
            seen = update(people).where(people.c.id == account.id).values(seen_at=now)
            connection.execute(seen)
        return given

    def who(self, given: str) -> tuple[Person, int] | None:
        """Whose session a secret opens, and its number."""
        now = time.time()
        found = (
            select(people.c.id, people.c.name, people.c.role, sessions.c.id.label("number"),
                   sessions.c.seen_at)
            .join_from(sessions, people)
            .where(sessions.c.secret == secret.kept(given), sessions.c.expires_at > now)
        )  # fmt: skip
        with self._database.reading() as connection:
            row = connection.execute(found).first()
        if row is None:
            return None
        if now - row.seen_at > SEEN_S:
            with self._database.writing() as connection:
                mine = sessions.c.id == row.number
                connection.execute(update(sessions).where(mine).values(seen_at=now))
                connection.execute(update(people).where(people.c.id == row.id).values(seen_at=now))
        return Person(row.id, row.name, Role(row.role)), row.number

    def holds(self, number: int, person: Person) -> bool:
        """Whether one that opened still does, for a person who is still the same."""
        found = (
            select(people.c.role)
            .join_from(sessions, people)
            .where(
                sessions.c.id == number,
                people.c.id == person.id,
                sessions.c.expires_at > time.time(),
            )
        )
        with self._database.reading() as connection:
            return connection.execute(found).scalar() == person.role

    def of(self, person_id: int) -> list[Session]:
        """Somebody's, the last seen first."""
        columns = [sessions.c[name] for name in Session.__dataclass_fields__]
        mine = (sessions.c.person_id == person_id) & (sessions.c.expires_at > time.time())
        found = select(*columns).where(mine).order_by(sessions.c.seen_at.desc(), sessions.c.id)
        with self._database.reading() as connection:
            return [Session(**row._mapping) for row in connection.execute(found)]

    def end(self, person_id: int, number: int) -> None:
        """Sign a browser out. Raises EntryUnknown where that session is not the person's."""
        mine = (sessions.c.person_id == person_id) & (sessions.c.id == number)
        with self._database.writing() as connection:
            if not connection.execute(delete(sessions).where(mine)).rowcount:
                raise EntryUnknown(f"You have no session {number}; it may have ended already.")
