"""Signing in and out, and choosing a password by a link."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from starlette.responses import RedirectResponse, Response

from loraloom.errors import EntryUnknown, PasswordRefused, SignInRefused, TooManyRequests
from loraloom.studio.people import Account, fold
from loraloom.studio.sessions import LASTS_S
from loraloom.studio.studio import Studio
from loraloom.web.guard import LOOPBACK
from loraloom.web.limits import Limits
from loraloom.web.pages.preferences import own
from loraloom.web.problems import problem_of
from loraloom.web.render import page
from loraloom.web.texts import translate as _
from loraloom.web.who import EntryNow, StudioNow, address, cookie_name

router = APIRouter()
Code = Annotated[str, Path(min_length=20, max_length=100)]
Password = Annotated[str, Form(max_length=1000)]


@router.get("/sign-in")
def show(request: Request, entry: EntryNow, then: str = "/") -> Response:
    """Where one signs in."""
    if entry.person.id is not None or not entry.is_team:
        return RedirectResponse(own(then), status_code=303)
    return _page(request, then=own(then))


@router.post("/sign-in")
def sign_in(
    request: Request,
    studio: StudioNow,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Password = "",
    then: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Begin a session."""
    limits = limits_of(request)
    try:
        limits.try_sign_in(fold(name), address(request))
        account = studio.people.sign_in(name, password)
    except (SignInRefused, TooManyRequests) as error:
        problem = problem_of(error)
        response = _page(
            request, then=own(then), name=name, error=problem.detail, status=problem.status
        )
        response.headers.update(problem.headers)
        return response
    limits.signed_in(fold(name), address(request))
    return let_in(request, studio, account, own(then))


@router.post("/sign-out")
def sign_out(request: Request, studio: StudioNow, entry: EntryNow) -> Response:
    """End the session of this browser."""
    if entry.session is not None and entry.person.id is not None:
        studio.sessions.end(entry.person.id, entry.session)
    response = RedirectResponse("/sign-in", status_code=303)
    _set_cookie(request, response, "", 0)
    return response


@router.get("/sign-in/link/{code}")
def show_link(request: Request, studio: StudioNow, code: Code) -> Response:
    """Where one chooses a password."""
    account = _of_link(request, studio, code)
    return _page(request, code=code, name=account.name)


@router.post("/sign-in/link/{code}")
def use_link(request: Request, studio: StudioNow, code: Code, password: Password = "") -> Response:
    """Choose a password and be signed in."""
    account = _of_link(request, studio, code)
    try:
        account = studio.people.use_link(code, password)
    except PasswordRefused as error:
        return _page(request, code=code, name=account.name, error=str(error), status=422)
    return let_in(request, studio, account, "/")


def let_in(request: Request, studio: Studio, account: Account, url: str) -> Response:
    """On to a page, in a new session."""
    secret = studio.sessions.begin(account, request.headers.get("user-agent", ""), address(request))
    response = RedirectResponse(url, status_code=303)
    _set_cookie(request, response, secret, round(LASTS_S))
    return response


def limits_of(request: Request) -> Limits:
    """How often somebody may ask this server."""
    found: Limits = request.app.state.limits
    return found


def _of_link(request: Request, studio: Studio, code: str) -> Account:
    try:
        return studio.people.of_link(code)
    except EntryUnknown:
        limits_of(request).wrong_secret(address(request))
        raise


def _set_cookie(request: Request, response: Response, secret: str, lasts_s: int) -> None:
    response.set_cookie(
        cookie_name(request), secret, max_age=lasts_s, path="/", httponly=True,
        samesite="strict", secure=request.url.scheme == "https",
    )  # fmt: skip


def _page(
    request: Request,
    *,
    then: str = "/",
    name: str = "",
    code: str = "",
    error: str = "",
    status: int = 200,
) -> Response:
    plain = request.url.scheme == "http" and address(request) not in LOOPBACK
    elsewhere = request.headers.get("sec-fetch-site") == "cross-site"
    return page(
        request, "settings/sign_in.html", status=status, then=then, name=name, code=code,
        error=error, is_plain=plain, comes_from_elsewhere=elsewhere,
        title=_("Choose a password") if code else _("Sign in"),
    )  # fmt: skip
