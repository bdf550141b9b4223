"""Who asks: the one user of this machine, or a member of a team."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from loraloom.studio.studio import Studio


@dataclass(frozen=True)
class Person:
    """Somebody who may ask."""

    id: int | None
    """None: the only user of a studio without accounts."""
    name: str
    is_owner: bool
    """May change settings and other people's things."""


def signed_in(request: Request) -> Person:
    """Whoever sent the request."""
    return Person(None, "", is_owner=True)


def studio(request: Request) -> Studio:
    """The installation that the application serves."""
    found: Studio = request.app.state.studio
    return found


PersonNow = Annotated[Person, Depends(signed_in)]
StudioNow = Annotated[Studio, Depends(studio)]
