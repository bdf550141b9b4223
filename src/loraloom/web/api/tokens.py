"""/tokens: by which one's programs ask."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from loraloom.studio.described import iso
from loraloom.studio.tokens import MOST_DAYS, Token
from loraloom.web.problems import ANSWERS
from loraloom.web.who import PersonNow, StudioNow

router = APIRouter(prefix="/tokens", tags=["people"], responses=ANSWERS)


class TokenBody(BaseModel):
    """A token without its secret; times in ISO 8601, UTC."""

    id: int
    name: str
    created: str | None
    used: str | None
    expires: str | None
    revoked: str | None


class NewToken(BaseModel, extra="forbid"):
    """A token to be made; without `days` it lasts until it is revoked."""

    name: str = Field(min_length=1, max_length=200)
    days: int | None = Field(default=90, ge=1, le=MOST_DAYS)


class MadeToken(BaseModel):
    """A new token and its secret, which is shown this once."""

    token: TokenBody
    secret: str


def body(token: Token) -> TokenBody:
    """As the API tells it."""
    return TokenBody(
        id=token.id, name=token.name, created=iso(token.created_at), used=iso(token.used_at),
        expires=iso(token.expires_at), revoked=iso(token.revoked_at),
    )  # fmt: skip


@router.get("")
def list_tokens(studio: StudioNow, person: PersonNow) -> list[TokenBody]:
    """List one's own tokens, the newest first."""
    return [body(t) for t in ([] if person.id is None else studio.tokens.of(person.id))]


@router.post("", status_code=201)
def make(studio: StudioNow, person: PersonNow, given: NewToken) -> MadeToken:
    """Make a token: send it as `Authorization: Bearer …`."""
    token, secret = studio.tokens.make(person, given.name, given.days)
    return MadeToken(token=body(token), secret=secret)


@router.delete("/{token}", status_code=204)
def revoke(
    studio: StudioNow, person: PersonNow, token: Annotated[int, Path(ge=1, le=2**31 - 1)]
) -> None:
    """End a token."""
    studio.tokens.revoke(person, token)
