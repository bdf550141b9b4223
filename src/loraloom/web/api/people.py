"""/people: accounts and their roles, for owners."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from loraloom.studio import audit
from loraloom.studio.described import iso
from loraloom.studio.people import Account
from loraloom.studio.rights import Role
from loraloom.web.problems import ANSWERS
from loraloom.web.who import OwnerNow, StudioNow

router = APIRouter(prefix="/people", tags=["people"], responses=ANSWERS)
Number = Annotated[int, Path(alias="person", ge=1, le=2**31 - 1)]


class PersonBody(BaseModel):
    """Somebody's account; times in ISO 8601, UTC."""

    id: int
    name: str
    role: Role
    has_password: bool
    created: str
    seen: str | None


class NewPerson(BaseModel, extra="forbid"):
    """An account to be made; without a password one is chosen by the link that comes back."""

    name: str = Field(min_length=1, max_length=200)
    role: Role = Role.MEMBER
    password: str | None = Field(default=None, max_length=1000)


class NewRole(BaseModel, extra="forbid"):
    """What somebody is to be."""

    role: Role


class Invited(BaseModel):
    """An account, and the page where its password can be chosen, once and for three days."""

    person: PersonBody
    link: str | None


class AuditBody(BaseModel):
    """One change of people, tokens or settings."""

    id: int
    at: str
    person: str
    action: str
    about: str


def body(account: Account) -> PersonBody:
    """As the API tells it."""
    created, seen = iso(account.created_at), iso(account.seen_at)
    assert created is not None
    return PersonBody(
        id=account.id, name=account.name, role=account.role, has_password=account.has_password,
        created=created, seen=seen,
    )  # fmt: skip


@router.get("")
def list_people(studio: StudioNow, owner: OwnerNow) -> list[PersonBody]:
    """List accounts, by name."""
    return [body(account) for account in studio.people.all()]


@router.post("", status_code=201)
def add(studio: StudioNow, owner: OwnerNow, given: NewPerson) -> Invited:
    """Make an account. The first one is an owner's, with a password."""
    account = studio.people.add(owner, given.name, given.role, given.password)
    link = None
    if given.password is None:
        link = link_of(studio.people.make_link(owner, account.id))
    return Invited(person=body(account), link=link)


@router.get("/audit")
def list_changes(
    studio: StudioNow, owner: OwnerNow, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[AuditBody]:
    """Who changed people, tokens and settings, the newest first."""
    return [
        AuditBody(id=e.id, at=iso(e.at) or "", person=e.person, action=e.action, about=e.about)
        for e in audit.newest(studio.database, limit)
    ]


@router.patch("/{person}")
def set_role(studio: StudioNow, owner: OwnerNow, person: Number, given: NewRole) -> PersonBody:
    """Make somebody an owner, a member or a viewer."""
    return body(studio.people.set_role(owner, person, given.role))


@router.post("/{person}/link")
def make_link(studio: StudioNow, owner: OwnerNow, person: Number) -> Invited:
    """Make a link by which somebody chooses a new password."""
    code = studio.people.make_link(owner, person)
    return Invited(person=body(studio.people.get(person)), link=link_of(code))


@router.delete("/{person}", status_code=204)
def remove(studio: StudioNow, owner: OwnerNow, person: Number) -> None:
    """End an account; what it owned goes to the owners of the studio."""
    studio.people.remove(owner, person)


def link_of(code: str) -> str:
    """The path of the page where a password is chosen."""
    return f"/sign-in/link/{code}"
