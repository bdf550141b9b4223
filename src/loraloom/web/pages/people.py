"""/settings/people: accounts and roles, for owners."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from loraloom.errors import Forbidden
from loraloom.studio import audit
from loraloom.studio.rights import Role
from loraloom.web.api.people import Number, link_of
from loraloom.web.guard import LOOPBACK
from loraloom.web.pages.sign_in import Password, let_in
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.who import EntryNow, OwnerNow, StudioNow, address

router = APIRouter(prefix="/settings/people")
HERE = "/settings/people"


@router.get("")
def show(request: Request, studio: StudioNow, owner: OwnerNow) -> Response:
    """Everybody with an account, or how to make the first."""
    return _page(request, studio)


@router.post("/first")
def add_first(
    request: Request,
    studio: StudioNow,
    owner: OwnerNow,
    entry: EntryNow,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Password = "",
) -> Response:
    """Make the first account, from this machine, and go on as its owner."""
    if entry.is_team or address(request) not in LOOPBACK:
        raise Forbidden(
            "The first account is made on the studio's own machine: there, open this page, or run "
            "`loraloom people add NAME --owner`."
        )
    account = studio.people.add(owner, name, Role.OWNER, password)
    return let_in(request, studio, account, HERE)


@router.post("")
def add(
    request: Request,
    studio: StudioNow,
    owner: OwnerNow,
    name: Annotated[str, Form(max_length=200)] = "",
    role: Annotated[Role, Form()] = Role.MEMBER,
) -> Response:
    """Make an account, and show the link by which its password is chosen."""
    account = studio.people.add(owner, name, role)
    return _with_link(request, studio, account.name, studio.people.make_link(owner, account.id))


@router.post("/{person}/role")
def set_role(
    studio: StudioNow, owner: OwnerNow, person: Number, role: Annotated[Role, Form()]
) -> Response:
    """Make somebody an owner, a member or a viewer."""
    studio.people.set_role(owner, person, role)
    return back(HERE, _("The role is changed; it holds from now on."))


@router.post("/{person}/link")
def make_link(request: Request, studio: StudioNow, owner: OwnerNow, person: Number) -> Response:
    """Make a link by which somebody chooses a new password."""
    account = studio.people.get(person)
    return _with_link(request, studio, account.name, studio.people.make_link(owner, person))


@router.post("/{person}/remove")
def remove(studio: StudioNow, owner: OwnerNow, person: Number) -> Response:
    """End an account."""
    studio.people.remove(owner, person)
    return back(HERE, _("The account is removed; what it owned belongs to the studio's owners."))


def _with_link(request: Request, studio: StudioNow, name: str, code: str) -> Response:
    url = str(request.base_url).rstrip("/") + link_of(code)
    return _page(request, studio, invited=name, link=url)


def _page(request: Request, studio: StudioNow, *, invited: str = "", link: str = "") -> Response:
    return page(
        request, "settings/people.html", tab="people", people=studio.people.all(), roles=list(Role),
        invited=invited, link=link, changes=audit.newest(studio.database, 50),
    )  # fmt: skip
