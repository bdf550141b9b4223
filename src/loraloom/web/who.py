"""Who asks: the one user of this machine, or a member of a team."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from loraloom.errors import Forbidden, LoraloomError, SignInRequired
from loraloom.settings import intake_limits
from loraloom.studio.datasets import Belonging
from loraloom.studio.rights import ALONE, NOBODY, Person, Visibility, check
from loraloom.studio.studio import Studio
from loraloom.studio.workbench import Workbench
from loraloom.web.guard import COOKIE, SAFE
from loraloom.web.limits import Limits
from loraloom.web.problems import Problem, problem_of

OPEN = ("/sign-in", "/static", "/api/v1/health")
"""What a stranger may ask for; everything else wants somebody who has signed in."""
PERSONAL = (
    "/preferences", "/sign-out", "/settings/account",
    "/api/v1/session", "/api/v1/sessions", "/api/v1/tokens",
)  # fmt: skip
"""What also those may change who may change nothing else: their own account."""
BY_HAND = ("/api/v1/session", "/api/v1/sessions", "/api/v1/tokens", "/api/v1/people")
"""What no token may change: a stolen one must not make others."""
MOST_BODY = 4 * 2**20
MOST_STRANGERS_BODY = 16 * 2**10


class Owned(Protocol):
    """What somebody owns."""

    @property
    def owner_id(self) -> int | None:
        """Who; None: the owners of the studio."""

    @property
    def visibility(self) -> Visibility:
        """Who else may read it."""


def _saved_prompt(request: Request, text: str) -> Belonging:
    studio(request).pictures.prompt(int(text))
    return Belonging(entry(request).person.id)


def _dataset(request: Request, name: str) -> Belonging | None:
    """None: there is none yet, and nobody's."""
    datasets = studio(request).datasets
    if datasets.is_free(name):
        return None
    return datasets.belonging(datasets.open(name).name)


def _bench(request: Request) -> Workbench:
    found: Workbench = request.app.state.workbench
    return found.seen_by(entry(request).person)


NUMBERED: Mapping[str, Callable[[Request, str], Owned]] = {
    "job": lambda request, text: studio(request).jobs.get(int(text)),
    "adapter": lambda request, text: studio(request).library.get(int(text)),
    "picture": lambda request, text: studio(request).pictures.get(int(text)),
    "grid": lambda request, text: studio(request).grids.get(int(text)).job,
    "prompt": _saved_prompt,
    "project": lambda request, text: studio(request).projects.get(int(text)),
}
NAMED: Mapping[str, Callable[[Request, str], Owned | None]] = {
    "dataset": _dataset,
    "upload": lambda request, text: _bench(request).uploads.get(text),
    "import": lambda request, text: _bench(request).imports.get(text),
}
OWNED = frozenset((*NUMBERED, *NAMED))
"""Parameters of paths that name what somebody owns; the mappings find it, if it is to be seen."""


@dataclass(frozen=True)
class Entry:
    """By what right a request comes."""

    person: Person
    is_team: bool = False
    """There are accounts."""
    session: int | None = None
    token: int | None = None


class Entrance:
    """Finds out who sends each request, and turns away who may not come in.

    It stands before the routes, so that no route can be forgotten, and before bodies are read, so
    that strangers cannot fill the disk.
    """

    def __init__(
        self, app: ASGIApp, studio: Studio, limits: Limits, *, always_team: bool = False
    ) -> None:
        """`always_team`: others can reach the server, so that without accounts nobody gets in."""
        self._app = app
        self._studio = studio
        self._limits = limits
        self._always_team = always_team

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            entry = await run_in_threadpool(self._enter, request)
            request.state.entry = entry
            self._check(request, entry)
            most = _most_body(request, entry)
        except LoraloomError as error:
            await problem_of(error).response(request)(scope, receive, send)
            return
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            problem = Problem(413, "too_large", f"This is larger than the {most} bytes allowed.")
            await problem.response(request)(scope, receive, send)
            return
        await RequestBodyLimitMiddleware(self._app, most)(scope, receive, send)

    def _enter(self, request: Request) -> Entry:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and below(request.url.path, ("/api",)):
            if found := self._studio.tokens.who(token.strip()):
                return Entry(found[0], is_team=True, token=found[1])
            if self._is_team():
                self._limits.wrong_secret(address(request))
                raise SignInRequired("This token is unknown, revoked or expired.")
            return Entry(ALONE)
        secret = request.cookies.get(cookie_name(request))
        if secret and (found := self._studio.sessions.who(secret)):
            return Entry(found[0], is_team=True, session=found[1])
        return Entry(NOBODY, is_team=True) if self._is_team() else Entry(ALONE)

    def _is_team(self) -> bool:
        return self._always_team or self._studio.people.any()

    def _check(self, request: Request, entry: Entry) -> None:
        path, changes = request.url.path, request.method not in SAFE
        if below(path, OPEN):
            return
        if entry.person is NOBODY:
            raise SignInRequired("Sign in first, or send an API token.")
        if entry.person.id is not None and below(path, ("/api",)):
            self._limits.ask(entry.person.id)
        if changes and not below(path, PERSONAL):
            check(entry.person, "add")
        if changes and entry.token is not None and below(path, BY_HAND):
            raise Forbidden("A token cannot change accounts, sessions or tokens: use the pages.")


def below(path: str, places: tuple[str, ...]) -> bool:
    """Whether a path is one of the places or below it."""
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _most_body(request: Request, entry: Entry) -> int:
    if entry.person is NOBODY:
        return MOST_STRANGERS_BODY
    uploads = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    if uploads or below(request.url.path, ("/api/v1/uploads",)):
        return intake_limits().total_bytes
    return MOST_BODY


def address(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def cookie_name(request: Request) -> str:
    """Cookies are the same for all ports of a host, and so their name holds it."""
    name = f"{COOKIE}-{request.url.port}" if request.url.port else COOKIE
    return f"__Host-{name}" if request.url.scheme == "https" else name


def entry(request: Request) -> Entry:
    """By what right the request comes."""
    found: Entry = getattr(request.state, "entry", Entry(NOBODY, is_team=True))
    return found


def is_let_in(studio: Studio, entry: Entry) -> bool:
    """Whether the right by which a long request came still holds."""
    if entry.session is not None:
        return studio.sessions.holds(entry.session, entry.person)
    if entry.token is not None:
        return studio.tokens.holds(entry.token, entry.person)
    return entry.is_team == studio.people.any()


def signed_in(request: Request) -> Person:
    """Whoever sent the request. Raises Forbidden, JobUnknown and such for what is others'."""
    person = entry(request).person
    if person is NOBODY and not below(request.url.path, OPEN):
        raise SignInRequired("Sign in first, or send an API token.")
    if not person.is_owner:
        for name in OWNED & request.path_params.keys():
            thing = _owned(request, name, str(request.path_params[name]))
            if thing is not None and request.method not in SAFE:
                check(person, "change", thing.owner_id, thing.visibility)
    return person


def _owned(request: Request, name: str, given: str) -> Owned | None:
    """What the parameter names; None where it is no number, which the route then refuses."""
    if name in NAMED:
        return NAMED[name](request, given)
    is_number = given.isascii() and given.isdecimal() and int(given) < 2**31
    return NUMBERED[name](request, given) if is_number else None


def managing(person: PersonNow) -> Person:
    """An owner of the studio. Raises Forbidden."""
    check(person, "manage")
    return person


def studio(request: Request) -> Studio:
    """The installation that the application serves, as whoever asks sees it."""
    found: Studio = request.app.state.studio
    return found.seen_by(entry(request).person)


PersonNow = Annotated[Person, Depends(signed_in)]
OwnerNow = Annotated[Person, Depends(managing)]
StudioNow = Annotated[Studio, Depends(studio)]
EntryNow = Annotated[Entry, Depends(entry)]
