"""Accounts: people, their roles and their passwords."""

from __future__ import annotations

import time
import unicodedata
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from loraloom.errors import EntryUnknown, PersonInvalid, PersonUnknown, SignInRefused
from loraloom.studio import audit, passwords, secret
from loraloom.studio.database import Database
from loraloom.studio.rights import Person, Role, check
from loraloom.studio.tables import (
    adapters,
    jobs,
    people,
    pictures,
    prompts,
    sessions,
    tokens,
    verdicts,
)

MOST_NAME = 40
LINK_S = 3 * 24 * 3600.0
"""How long a link to choose a password can be used."""


@dataclass(frozen=True)
class Account:
    """Somebody's account; times in seconds since 1970."""

    id: int
    name: str
    role: Role
    has_password: bool
    link_until: float | None
    """Until when a password can be chosen by a link that was made."""
    created_at: float
    seen_at: float | None

    @property
    def person(self) -> Person:
        """As whom it asks."""
        return Person(self.id, self.name, self.role)


class People:
    """All accounts of an installation. Changes name who makes them: `by`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def any(self) -> bool:
        """Whether there are accounts: from the first on, everybody signs in."""
        with self._database.reading() as connection:
            return connection.execute(select(people.c.id).limit(1)).first() is not None

    def all(self) -> list[Account]:
        """By name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(people).order_by(people.c.folded)).all()
        return [_account(row) for row in rows]

    def get(self, number: int) -> Account:
        """Raises PersonUnknown."""
        with self._database.reading() as connection:
            return _account(_found(connection, people.c.id == number, number))

    def named(self, name: str) -> Account:
        """Raises PersonUnknown."""
        with self._database.reading() as connection:
            return _account(_found(connection, people.c.folded == fold(name), name))

    def add(self, by: Person, name: str, role: Role, password: str | None = None) -> Account:
        """Make an account; without a password one is chosen by a link.

        The first is an owner's, with a password, and is made by whoever is alone here. Raises
        Forbidden, PersonInvalid, PasswordRefused.
        """
        check(by, "manage")
        shown = _checked_name(name)
        if password is not None:
            passwords.check(password, shown)
        kept = "" if password is None else passwords.hashed(password)
        with self._database.writing() as connection:
            first = connection.execute(select(people.c.id).limit(1)).first() is None
            if first and (role is not Role.OWNER or password is None):
                raise PersonInvalid(
                    "The first account must be an owner's, with a password: "
                    "`loraloom people add NAME --owner`."
                )
            if connection.execute(_by_name(shown)).first():
                raise PersonInvalid(f"There is an account named {shown!r} already.")
            values = {"name": shown, "folded": fold(shown), "role": role, "password": kept}
            made = connection.execute(insert(people).values(**values, created_at=time.time()))
            assert made.inserted_primary_key is not None
            number = made.inserted_primary_key[0]
            audit.note(connection, by, "person added", f"{shown} ({role})")
            return _account(_found(connection, people.c.id == number, number))

    def set_role(self, by: Person, number: int, role: Role) -> Account:
        """Raises Forbidden, PersonUnknown, PersonInvalid for the last owner."""
        check(by, "manage")
        with self._database.writing() as connection:
            row = _locked(connection, number)
            if row.role != role:
                if role is not Role.OWNER:
                    _keep_an_owner(connection, row)
                connection.execute(_update(number).values(role=role))
                audit.note(connection, by, "role changed", f"{row.name}: {row.role} → {role}")
            return _account(_found(connection, people.c.id == number, number))

    def remove(self, by: Person, number: int, *, last: bool = False) -> None:
        """End an account; what it owned goes to the owners of the studio.

        `last`: also where none is left, and nobody needs to sign in any more. Raises Forbidden,
        PersonUnknown, PersonInvalid for the last owner.
        """
        check(by, "manage")
        with self._database.writing() as connection:
            row = _locked(connection, number)
            count = connection.execute(select(func.count()).select_from(people)).scalar()
            if not (last and count == 1):
                _keep_an_owner(connection, row)
            for owned in (jobs, adapters, pictures):
                mine = update(owned).where(owned.c.owner_id == number)
                connection.execute(mine.values(owner_id=None))
            for own in (prompts, verdicts):
                left = update(own).values(owner_id=None) if count == 1 else delete(own)
                connection.execute(left.where(own.c.owner_id == number))
            for table in (sessions, tokens):
                connection.execute(delete(table).where(table.c.person_id == number))
            connection.execute(delete(people).where(people.c.id == number))
            audit.note(connection, by, "person removed", row.name)

    def make_link(self, by: Person, number: int) -> str:
        """The code of a link by which the person chooses a password, once. Ends no session.

        Raises Forbidden, PersonUnknown.
        """
        check(by, "manage")
        code, kept = secret.made()
        with self._database.writing() as connection:
            row = _locked(connection, number)
            values = {"link": kept, "link_until": time.time() + LINK_S}
            connection.execute(_update(number).values(**values))
            audit.note(connection, by, "link made", row.name)
        return code

    def of_link(self, code: str) -> Account:
        """Whose link it is. Raises EntryUnknown."""
        valid = (people.c.link == secret.kept(code)) & (people.c.link_until > time.time())
        with self._database.reading() as connection:
            row = connection.execute(select(people).where(valid)).first()
        if row is None:
            raise EntryUnknown(
                "This link has been used or has expired. Ask an owner of the studio for another."
            )
        return _account(row)

    def use_link(self, code: str, password: str) -> Account:
        """Choose the password by a link. Raises EntryUnknown, PasswordRefused."""
        account = self.of_link(code)
        passwords.check(password, account.name)
        kept = passwords.hashed(password)
        with self._database.writing() as connection:
            row = _locked(connection, account.id)
            if row.link != secret.kept(code):
                raise EntryUnknown("This link has been used. Ask an owner for another.")
            _set_password(connection, account.person, account, kept, "password chosen")
        return account

    def set_password(
        self, by: Person, number: int, password: str, *, keep: int | None = None
    ) -> None:
        """Change a password and end all sessions but the one numbered `keep`; tokens stay.

        Raises Forbidden, PersonUnknown, PasswordRefused.
        """
        if by.id != number:
            check(by, "manage")
        account = self.get(number)
        passwords.check(password, account.name)
        kept = passwords.hashed(password)
        with self._database.writing() as connection:
            _set_password(connection, by, account, kept, "password changed", keep)

    def sign_in(self, name: str, password: str) -> Account:
        """Raises SignInRefused, in the same words and time whatever is wrong."""
        with self._database.reading() as connection:
            row = connection.execute(_by_name(name)).first()
        if not passwords.fits(password, None if row is None else row.password) or row is None:
            raise SignInRefused("The name or the password is not right.")
        if passwords.is_old(row.password):
            unchanged = people.c.password == row.password
            kept = passwords.hashed(password)
            with self._database.writing() as connection:
                connection.execute(_update(row.id).where(unchanged).values(password=kept))
        return _account(row)


def fold(name: str) -> str:
    """The form in which names are compared."""
    text = "".join(sign for sign in unicodedata.normalize("NFKC", name) if sign.isprintable())
    return " ".join(text.split()).casefold()


def _checked_name(name: str) -> str:
    shown = " ".join(unicodedata.normalize("NFKC", name).split())
    if not 0 < len(shown) <= MOST_NAME or not shown.isprintable():
        raise PersonInvalid(
            f"A name has 1 to {MOST_NAME} characters that can be printed; {name[:60]!r} is none."
        )
    return shown


def _set_password(
    connection: Connection,
    by: Person,
    account: Account,
    kept: str,
    action: str,
    keep: int | None = None,
) -> None:
    values = {"password": kept, "link": None, "link_until": None}
    connection.execute(_update(account.id).values(**values))
    others = delete(sessions).where(sessions.c.person_id == account.id)
    connection.execute(others if keep is None else others.where(sessions.c.id != keep))
    audit.note(connection, by, action, account.name)


def _keep_an_owner(connection: Connection, row: Any) -> None:
    others = select(people.c.id).where(people.c.role == Role.OWNER, people.c.id != row.id)
    if row.role == Role.OWNER and connection.execute(others.with_for_update()).first() is None:
        raise PersonInvalid(
            f"{row.name} is the only owner of the studio. Make somebody else an owner first."
        )


def _by_name(name: str) -> Any:
    return select(people).where(people.c.folded == fold(name))


def _update(number: int) -> Any:
    return update(people).where(people.c.id == number)


def _locked(connection: Connection, number: int) -> Any:
    return _found(connection, people.c.id == number, number, lock=True)


def _found(
    connection: Connection, where: ColumnElement[bool], given: object, *, lock: bool = False
) -> Any:
    found = select(people).where(where)
    row = connection.execute(found.with_for_update() if lock else found).first()
    if row is None:
        raise PersonUnknown(f"There is no account {given!r}; `loraloom people list` shows them.")
    return row


def _account(row: Any) -> Account:
    return Account(
        row.id, row.name, Role(row.role), bool(row.password), row.link_until, row.created_at,
        row.seen_at,
    )  # fmt: skip
