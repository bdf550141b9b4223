"""Who may do what: every permission of the studio is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import ColumnElement, or_, true

from loraloom.errors import Forbidden


class Role(StrEnum):
    """What somebody is in the studio."""

    OWNER = "owner"  # everything: people, settings, other people's things
    MEMBER = "member"  # makes things, changes own ones, reads public ones
    VIEWER = "viewer"  # reads and downloads public ones


class Visibility(StrEnum):
    """Who else may read a thing."""

    PRIVATE = "private"  # its owner and the studio's owners
    PUBLIC = "public"  # everybody with an account


class Relation(StrEnum):
    """How a thing stands to the person who asks for it."""

    OWN = "own"
    PUBLIC = "public"  # somebody else's that all may read
    HIDDEN = "hidden"  # somebody else's


Action = Literal["read", "change", "add", "manage"]
"""Reading and changing a thing; adding things; managing people and settings."""

_ALL = frozenset(Relation)
_RIGHTS: dict[Action, dict[Role, frozenset[Relation]]] = {
    "read": {
        Role.OWNER: _ALL,
        Role.MEMBER: frozenset((Relation.OWN, Relation.PUBLIC)),
        Role.VIEWER: frozenset((Relation.OWN, Relation.PUBLIC)),
    },
    "change": {
        Role.OWNER: _ALL,
        Role.MEMBER: frozenset((Relation.OWN,)),
        Role.VIEWER: frozenset(),
    },
    "add": {Role.OWNER: _ALL, Role.MEMBER: _ALL, Role.VIEWER: frozenset()},
    "manage": {Role.OWNER: _ALL, Role.MEMBER: frozenset(), Role.VIEWER: frozenset()},
}
"""Action and role -> the things for which it is allowed."""


@dataclass(frozen=True)
class Person:
    """Somebody who may ask."""

    id: int | None
    """None: the only user of a studio without accounts."""
    name: str
    role: Role

    @property
    def is_owner(self) -> bool:
        """May change settings and other people's things."""
        return self.role is Role.OWNER


ALONE = Person(None, "", Role.OWNER)
"""The only user of a studio without accounts, and this machine's command line."""
NOBODY = Person(None, "", Role.VIEWER)
"""Who has not signed in."""


def may(
    person: Person,
    action: Action,
    owner_id: int | None = None,
    visibility: str = Visibility.PRIVATE,
) -> bool:
    """Whether a person may do that; things without owner belong to the studio's owners."""
    return _relation(person, owner_id, visibility) in _RIGHTS[action][person.role]


def check(
    person: Person,
    action: Action,
    owner_id: int | None = None,
    visibility: str = Visibility.PRIVATE,
) -> None:
    """Raises Forbidden where the person may not."""
    if not may(person, action, owner_id, visibility):
        raise Forbidden(
            {
                "read": "This belongs to somebody else and is private.",
                "change": "This belongs to somebody else: you may look at it and download it. "
                "Ask its owner to change it.",
                "add": "Your account may look and download, and not change anything. Ask an "
                "owner of the studio to make you a member.",
                "manage": "Only owners of the studio may do this. Ask one of them.",
            }[action]
        )


def readable(
    person: Person, owner_id: ColumnElement[Any], visibility: ColumnElement[Any]
) -> ColumnElement[bool]:
    """The same as `may(person, "read", …)`, for the rows of a table."""
    allowed = _RIGHTS["read"][person.role]
    if Relation.HIDDEN in allowed:
        return true()
    public: ColumnElement[bool] = visibility == Visibility.PUBLIC
    return public if person.id is None else or_(public, owner_id == person.id)


def _relation(person: Person, owner_id: int | None, visibility: str) -> Relation:
    if person.id is not None and owner_id == person.id:
        return Relation.OWN
    return Relation.PUBLIC if visibility == Visibility.PUBLIC else Relation.HIDDEN
