"""API tokens: how programs of a person ask."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from loraloom.errors import EntryUnknown, PersonInvalid
from loraloom.studio import audit, secret
from loraloom.studio.database import Database
from loraloom.studio.rights import Person, Role
from loraloom.studio.tables import people, tokens

PREFIX = "loraloom_"
"""So that a token that got into a public place is recognised."""
MOST_NAME = 60
MOST_TOKENS = 50
MOST_DAYS = 3650
_DAY_S = 24 * 3600.0
_SEEN_S = 300.0


@dataclass(frozen=True)
class Token:
    """One token, without its secret; times in seconds since 1970."""

    id: int
    name: str
    created_at: float
    used_at: float | None
    expires_at: float | None
    revoked_at: float | None

    @property
    def is_valid(self) -> bool:
        """Whether it opens anything now."""
        expired = self.expires_at is not None and self.expires_at <= time.time()
        return self.revoked_at is None and not expired


class Tokens:
    """All API tokens of an installation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(self, person: Person, name: str, days: int | None) -> tuple[Token, str]:
        """A new token and its secret, which is not kept. Raises PersonInvalid."""
        shown = " ".join(name.split())
        if not 0 < len(shown) <= MOST_NAME or not shown.isprintable():
            raise PersonInvalid(f"A token needs a name of 1 to {MOST_NAME} printable characters.")
        if days is not None and not 1 <= days <= MOST_DAYS:
            raise PersonInvalid(f"A token lasts 1 to {MOST_DAYS} days, or until it is revoked.")
        if sum(token.is_valid for token in self.of(_id(person))) >= MOST_TOKENS:
            raise PersonInvalid(f"You have {MOST_TOKENS} tokens. Revoke one that is not used.")
        given, _ = secret.made()
        given = PREFIX + given
        now = time.time()
        values = {
            "person_id": _id(person), "secret": secret.kept(given), "name": shown,
            "created_at": now, "expires_at": None if days is None else now + days * _DAY_S,
        }  # fmt: skip
        with self._database.writing() as connection:
            made = connection.execute(insert(tokens).values(**values)).inserted_primary_key
            assert made is not None
            audit.note(connection, person, "token made", shown)
        return next(token for token in self.of(_id(person)) if token.id == made[0]), given

    def who(self, given: str) -> tuple[Person, int] | None:
        """Whose token it is, and its number."""
        now = time.time()
        lasts = tokens.c.expires_at.is_(None) | (tokens.c.expires_at > now)
        found = (
            select(people.c.id, people.c.name, people.c.role, tokens.c.id.label("number"),
                   tokens.c.used_at)
            .join_from(tokens, people)
            .where(tokens.c.secret == secret.kept(given), tokens.c.revoked_at.is_(None), lasts)
        )  # fmt: skip
        with self._database.reading() as connection:
            row = connection.execute(found).first()
        if row is None:
            return None
        if row.used_at is None or now - row.used_at > _SEEN_S:
            mine = tokens.c.id == row.number
            with self._database.writing() as connection:
                connection.execute(update(tokens).where(mine).values(used_at=now))
        return Person(row.id, row.name, Role(row.role)), row.number

    def holds(self, number: int, person: Person) -> bool:
        """Whether one that opened still does, for a person who is still the same."""
        lasts = tokens.c.expires_at.is_(None) | (tokens.c.expires_at > time.time())
        found = (
            select(people.c.role)
            .join_from(tokens, people)
            .where(
                tokens.c.id == number,
                people.c.id == person.id,
                tokens.c.revoked_at.is_(None),
                lasts,
            )
        )
        with self._database.reading() as connection:
            return connection.execute(found).scalar() == person.role

    def of(self, person_id: int) -> list[Token]:
        """Somebody's, the newest first; revoked ones too."""
        columns = [tokens.c[name] for name in Token.__dataclass_fields__]
        mine = tokens.c.person_id == person_id
        found = select(*columns).where(mine).order_by(tokens.c.id.desc())
        with self._database.reading() as connection:
            return [Token(**row._mapping) for row in connection.execute(found)]

    def revoke(self, person: Person, number: int) -> None:
        """End a token. Again: no change. Raises EntryUnknown where it is not the person's."""
        mine = (tokens.c.person_id == _id(person)) & (tokens.c.id == number)
        with self._database.writing() as connection:
            row = connection.execute(select(tokens).where(mine).with_for_update()).first()
            if row is None:
                raise EntryUnknown(f"You have no token {number}.")
            if row.revoked_at is None:
                connection.execute(update(tokens).where(mine).values(revoked_at=time.time()))
                audit.note(connection, person, "token revoked", row.name)


def _id(person: Person) -> int:
    if person.id is None:
        raise PersonInvalid(
            "A studio without accounts needs no tokens: programs on this machine may ask as they "
            "are."
        )
    return person.id
