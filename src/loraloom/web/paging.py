"""Lists that come in pages: one more than is shown is read, which tells whether others follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol, TypeVar

from fastapi import Query


class Numbered(Protocol):
    """What has a number, the newest the highest."""

    @property
    def id(self) -> int:
        """Its number."""


One = TypeVar("One", bound=Numbered)
Before = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
"""Those older than the one of this number."""
Words = Annotated[str, Query(max_length=200)]
"""What is looked for: each of these words, in any order."""
InProject = Annotated[int | None, Query(ge=1, le=2**31 - 1)]
"""Those in the project of this number."""


def cut(found: Sequence[One], limit: int) -> tuple[Sequence[One], int | None]:
    """The first `limit`, and the `before` of those behind them, if there are any."""
    shown = found[:limit]
    return shown, shown[-1].id if len(found) > limit else None
