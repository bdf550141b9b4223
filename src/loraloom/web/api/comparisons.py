"""/comparisons: what one found on comparing two runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from loraloom.studio.described import iso
from loraloom.studio.verdicts import LONGEST_NOTE, Verdict
from loraloom.web.problems import ANSWERS
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/comparisons", tags=["jobs"], responses=ANSWERS)
JobNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]


class VerdictEdit(BaseModel):
    """What is found; nothing at all takes an earlier one back."""

    winner: int | None = Field(None, ge=1, le=2**31 - 1)
    """The number of the better run; null: neither."""
    note: str = Field("", max_length=LONGEST_NOTE)


class VerdictBody(BaseModel):
    """What was found on two runs; the time in ISO 8601, UTC."""

    first: int
    second: int
    winner: int | None
    note: str
    given: str


class VerdictsBody(BaseModel):
    """One's own, the newest first."""

    comparisons: list[VerdictBody]


@router.get("")
def list_comparisons(studio: StudioNow) -> VerdictsBody:
    """List the latest comparisons of two runs on which one said something."""
    return VerdictsBody(comparisons=[_body(one) for one in studio.verdicts.latest()])


@router.put("/{first}/{second}")
def judge(
    studio: StudioNow, first: JobNumber, second: JobNumber, found: VerdictEdit
) -> VerdictBody | None:
    """Say which of two runs is better, and why; null where nothing is said any more."""
    kept = studio.verdicts.give(first, second, found.winner, found.note)
    return None if kept is None else _body(kept)


def _body(verdict: Verdict) -> VerdictBody:
    return VerdictBody(
        first=verdict.first, second=verdict.second, winner=verdict.winner, note=verdict.note,
        given=iso(verdict.given_at) or "",
    )  # fmt: skip
