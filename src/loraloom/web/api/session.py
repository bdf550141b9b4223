"""/session and /sessions: who asks, and in which browsers they are signed in; /health."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel

from loraloom.studio.described import iso
from loraloom.studio.rights import Role
from loraloom.web.problems import ANSWERS
from loraloom.web.who import EntryNow, PersonNow, StudioNow

router = APIRouter(tags=["people"], responses=ANSWERS)


class WhoBody(BaseModel):
    """Who asks; without accounts, an owner without name."""

    id: int | None
    name: str
    role: Role
    by: Literal["session", "token", "alone"]


class SessionBody(BaseModel):
    """A browser in which one is signed in; times in ISO 8601, UTC."""

    id: int
    browser: str
    address: str
    created: str | None
    seen: str | None
    expires: str | None
    is_this: bool


class Health(BaseModel):
    """That the studio answers."""

    status: Literal["ok"] = "ok"


@router.get("/health")
def health(studio: StudioNow) -> Health:
    """Whether the studio and its database answer; for everybody."""
    studio.jobs.last_event()
    return Health()


@router.get("/session")
def who(person: PersonNow, entry: EntryNow) -> WhoBody:
    """Who asks."""
    by: Literal["session", "token", "alone"] = "alone"
    if entry.session is not None:
        by = "session"
    elif entry.token is not None:
        by = "token"
    return WhoBody(id=person.id, name=person.name, role=person.role, by=by)


@router.get("/sessions")
def list_sessions(studio: StudioNow, person: PersonNow, entry: EntryNow) -> list[SessionBody]:
    """List one's own sessions, the last seen first."""
    return [
        SessionBody(
            id=s.id, browser=s.browser, address=s.address, created=iso(s.created_at),
            seen=iso(s.seen_at), expires=iso(s.expires_at), is_this=s.id == entry.session,
        )
        for s in ([] if person.id is None else studio.sessions.of(person.id))
    ]  # fmt: skip


@router.delete("/sessions/{session}", status_code=204)
def end(
    studio: StudioNow, person: PersonNow, session: Annotated[int, Path(ge=1, le=2**31 - 1)]
) -> None:
    """Sign one of one's own browsers out."""
    studio.sessions.end(person.id or 0, session)
