"""/settings: this studio, and one's own account."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from sqlalchemy import make_url
from starlette.responses import RedirectResponse, Response

from loraloom.errors import PersonInvalid
from loraloom.settings import database_url
from loraloom.studio import disk, room, workers
from loraloom.studio.library import BIN_DAYS
from loraloom.studio.people import fold
from loraloom.studio.rights import Person
from loraloom.studio.tokens import MOST_DAYS
from loraloom.web.api.storage import RoomName
from loraloom.web.bench import BenchNow
from loraloom.web.pages.sign_in import Password, limits_of
from loraloom.web.render import back, page, size
from loraloom.web.texts import translate as _
from loraloom.web.who import EntryNow, PersonNow, StudioNow, address

router = APIRouter(prefix="/settings")
ACCOUNT = "/settings/account"
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("")
def studio_page(
    request: Request, studio: StudioNow, bench: BenchNow, person: PersonNow
) -> Response:
    """Where things lie, what takes room, who works."""
    if not person.is_owner:
        return RedirectResponse(ACCOUNT, status_code=303)
    room.empty_bin(studio)
    return page(
        request, "settings/studio.html", tab="studio", disk=disk.measure(studio.data),
        database=make_url(database_url()).render_as_string(hide_password=True),
        workers=studio.jobs.workers(), worker_title=workers.title,
        removed=len(studio.datasets.removed()),
        thrown=len(studio.jobs.thrown()),
        freeable=room.sizes(studio, bench.uploads, bench.imports), days=BIN_DAYS,
    )  # fmt: skip


@router.post("/storage/{room}")
def free(studio: StudioNow, bench: BenchNow, person: PersonNow, name: RoomName) -> Response:
    """Give room on the disk back."""
    freed = room.free(studio, bench.uploads, bench.imports, person, name)
    return back("/settings#room", _("%(size)s were freed.") % {"size": size(freed)})


@router.get("/account")
def account(request: Request, studio: StudioNow, person: PersonNow, entry: EntryNow) -> Response:
    """One's password, sessions and tokens."""
    return _account(request, studio, person, entry)


@router.post("/account/password")
def set_password(
    request: Request,
    studio: StudioNow,
    person: PersonNow,
    entry: EntryNow,
    current: Password = "",
    password: Password = "",
) -> Response:
    """Change one's password; other browsers sign in anew."""
    number = _number(person)
    limits_of(request).try_sign_in(fold(person.name), address(request))
    studio.people.sign_in(person.name, current)
    limits_of(request).signed_in(fold(person.name), address(request))
    studio.people.set_password(person, number, password, keep=entry.session)
    return back(ACCOUNT, _("Your password is changed; your other browsers sign in anew."))


@router.post("/account/sessions/{session}/end")
def end(studio: StudioNow, person: PersonNow, session: Number) -> Response:
    """Sign one of one's browsers out."""
    studio.sessions.end(_number(person), session)
    return back(ACCOUNT, _("That browser is signed out."))


@router.post("/account/tokens")
def make_token(
    request: Request,
    studio: StudioNow,
    person: PersonNow,
    entry: EntryNow,
    name: Annotated[str, Form(max_length=200)] = "",
    days: Annotated[int, Form(ge=0, le=MOST_DAYS)] = 90,
) -> Response:
    """Make a token and show it, this once."""
    _, secret = studio.tokens.make(person, name, days or None)
    return _account(request, studio, person, entry, secret)


@router.post("/account/tokens/{token}/revoke")
def revoke(studio: StudioNow, person: PersonNow, token: Number) -> Response:
    """End a token."""
    studio.tokens.revoke(person, token)
    return back(ACCOUNT, _("The token is revoked; it opens nothing any more."))


def _account(
    request: Request, studio: StudioNow, person: Person, entry: EntryNow, secret: str = ""
) -> Response:
    return page(
        request, "settings/account.html", tab="account", entry=entry, secret=secret,
        sessions=[] if person.id is None else studio.sessions.of(person.id),
        tokens=[] if person.id is None else studio.tokens.of(person.id),
        browser_name=browser_name,
        base_url=str(request.base_url).rstrip("/"),
    )  # fmt: skip


def browser_name(told: str) -> str:
    """What a browser says of itself, in short: "Firefox, Linux"; as it is where it is unknown."""
    browsers = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome",
                "Safari/": "Safari"}  # fmt: skip
    systems = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows",
               "Mac OS": "macOS", "Linux": "Linux"}  # fmt: skip
    found = [next((n for sign, n in known.items() if sign in told), "")
             for known in (browsers, systems)]  # fmt: skip
    return ", ".join(found) if all(found) else told[:80]


def _number(person: Person) -> int:
    if person.id is None:
        raise PersonInvalid(
            "This studio has no accounts. The first is made on the page of its people."
        )
    return person.id
