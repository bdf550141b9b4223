"""What somebody found on comparing two runs: the better one, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, or_, select

from loraloom.errors import ComparisonInvalid
from loraloom.studio.database import Database
from loraloom.studio.jobs import Jobs
from loraloom.studio.rights import ALONE, Person, check
from loraloom.studio.rows import locked
from loraloom.studio.tables import verdicts

LATEST = 100
LONGEST_NOTE = 5000


@dataclass(frozen=True)
class Verdict:
    """On two runs, the older one first."""

    first: int
    second: int
    winner: int | None
    """One of both; None: neither."""
    note: str
    given_at: float
    """Seconds since 1970."""


class Verdicts:
    """Everybody has one's own."""

    def __init__(self, database: Database, all_jobs: Jobs, person: Person = ALONE) -> None:
        self._database = database
        self._jobs = all_jobs
        self._person = person
        mine = verdicts.c.owner_id == person.id
        self._own = or_(mine, verdicts.c.owner_id.is_(None)) if person.is_owner else mine

    def seen_by(self, person: Person) -> Verdicts:
        """Those of somebody else."""
        return Verdicts(self._database, self._jobs.seen_by(person), person)

    def of(self, one: int, other: int) -> Verdict | None:
        """On these two runs, in whatever order."""
        return next(iter(self._select(_pair(one, other), limit=1)), None)

    def latest(self, limit: int = LATEST) -> list[Verdict]:
        """On any two runs that can be seen, the newest first."""
        found = self._select(limit=limit)
        seen = self._jobs.known({number for one in found for number in (one.first, one.second)})
        return [one for one in found if {one.first, one.second} <= seen]

    def give(self, one: int, other: int, winner: int | None, note: str) -> Verdict | None:
        """Keep it in the place of an earlier one; nothing said takes that back.

        Raises JobUnknown, ComparisonInvalid, Forbidden.
        """
        check(self._person, "add")
        first, second = sorted(self._jobs.get(number).id for number in (one, other))
        if first == second:
            raise ComparisonInvalid(f"{first} is one run; a comparison is of two.")
        if winner not in (first, second, None):
            raise ComparisonInvalid(f"The better of {first} and {second} cannot be {winner}.")
        note = note.replace("\0", "").strip()
        if len(note) > LONGEST_NOTE:
            raise ComparisonInvalid(
                f"The note has {len(note):,} characters; at most {LONGEST_NOTE:,} are kept."
            )
        mine = verdicts.c.owner_id == self._person.id
        with self._database.writing() as connection:
            locked(connection, first)  # of two at once the later one holds
            connection.execute(delete(verdicts).where(_pair(first, second), mine))
            if winner is not None or note:
                told = {"winner_id": winner, "note": note, "given_at": time.time()}
                pair = {"first_id": first, "second_id": second, "owner_id": self._person.id}
                connection.execute(insert(verdicts).values(**pair, **told))
        return self.of(first, second)

    def _select(self, *conditions: ColumnElement[bool], limit: int) -> list[Verdict]:
        found = select(verdicts).where(*conditions, self._own).order_by(verdicts.c.id.desc())
        with self._database.reading() as connection:
            return [
                Verdict(row.first_id, row.second_id, row.winner_id, row.note, row.given_at)
                for row in connection.execute(found.limit(limit))
            ]


def _pair(one: int, other: int) -> ColumnElement[bool]:
    first, second = sorted((one, other))
    return (verdicts.c.first_id == first) & (verdicts.c.second_id == second)
