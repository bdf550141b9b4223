"""The playground: pictures that are asked for become jobs; what they drew is kept and listed."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from loraloom.errors import AdapterRefused, PictureUnknown
from loraloom.families.installed import Base, describe
from loraloom.generate import order as orders
from loraloom.generate.order import Order, Wanted
from loraloom.settings import STARTER
from loraloom.studio import bases
from loraloom.studio.adapter import Adapter, project_of
from loraloom.studio.bases import refuse_folder
from loraloom.studio.database import Database
from loraloom.studio.job import ENDED, HELD, Job, State, Task
from loraloom.studio.jobs import Jobs, Start
from loraloom.studio.library import BIN_DAYS, Library
from loraloom.studio.picture import Ask, Picture, as_picture
from loraloom.studio.rights import ALONE, Person, Visibility, check, readable
from loraloom.studio.rows import as_job, joined, locked
from loraloom.studio.tables import jobs, pictures, prompts

PRIORITY = 100
"""Pictures, which somebody waits for, go before runs that have not begun."""
PAGE = 48
MOST_SAVED = 200


@dataclass(frozen=True)
class Saved:
    """A prompt that is kept."""

    id: int
    prompt: str
    negative: str


class Pictures:
    """All pictures of an installation's playground, as somebody may see and change them."""

    def __init__(
        self, database: Database, library: Library, all_jobs: Jobs, person: Person = ALONE
    ) -> None:
        """`library`, `all_jobs`: as the same person sees them."""
        self._database = database
        self._library = library
        self._jobs = all_jobs
        self._person = person
        self._seen = readable(person, pictures.c.owner_id, pictures.c.visibility)
        mine = prompts.c.owner_id == person.id
        self._own = or_(mine, prompts.c.owner_id.is_(None)) if person.is_owner else mine

    def seen_by(self, person: Person) -> Pictures:
        """The same pictures as somebody sees and may change them; saved prompts are one's own."""
        library, jobs_ = self._library.seen_by(person), self._jobs.seen_by(person)
        return Pictures(self._database, library, jobs_, person)

    def ask(self, ask: Ask, start: Start | None = None) -> Job:
        """Queue what is asked for, once for a `start`.

        Raises JobRefused as `Jobs.add`, AdapterUnknown, AdapterRefused, BaseUnknown, ConfigInvalid,
        Forbidden.
        """
        check(self._person, "add")
        if start and (made := self._jobs.started(start)):
            return made
        refuse_folder(self._person, ask.base)
        used = [(self._library.get(use.adapter), use.scale) for use in ask.adapters if use.on]
        base = chosen_base(ask.base, [adapter for adapter, _ in used])
        prompt = with_triggers(ask.prompt, used) if ask.complete else ask.prompt
        seed = secrets.randbelow(2**32) if ask.seed is None else ask.seed
        wanted, told = [], []
        for scales in _variants([scale for _, scale in used], compare=ask.compare):
            for number in range(ask.count):
                one = Wanted(
                    prompt=prompt, seed=seed + number,
                    negative=ask.negative if base.negative_prompt else "",
                    guidance=ask.guidance, steps=ask.steps,
                    width_px=fitted(ask.width_px, base), height_px=fitted(ask.height_px, base),
                    scales=scales,
                )  # fmt: skip
                wanted.append(one)
                told.append(_told(one, base, [adapter for adapter, _ in used]))
        files = tuple(usable(adapter).resolve() for adapter, _ in used)
        names = tuple(adapter.name for adapter, _ in used)
        order = Order(base=base.name, adapters=files, names=names, pictures=tuple(wanted))

        def list_them(connection: Connection, job: Job) -> None:
            whose = {"owner_id": self._person.id, "visibility": Visibility.PRIVATE,
                     "project_id": job.project_id}  # fmt: skip
            rows = [
                {"job_id": job.id, "number": number, "asked": json.dumps(one), "starred": False,
                 **whose}
                for number, one in enumerate(told)
            ]  # fmt: skip
            connection.execute(insert(pictures), rows)

        return self._jobs.queue_up(
            Task.GENERATE, prompt[:80], orders.to_toml(order), priority=PRIORITY, start=start,
            project=project_of(adapter for adapter, _ in used), also=list_them,
        )[0]  # fmt: skip

    def get(self, number: int) -> Picture:
        """Raises PictureUnknown."""
        found = self._select(pictures.c.id == number, limit=1)
        if not found:
            raise PictureUnknown(f"There is no picture {number} in the playground.")
        return found[0]

    def of_job(self, job_id: int) -> list[Picture]:
        """Those of one job, in its order."""
        return self._select(pictures.c.job_id == job_id, limit=10_000)[::-1]

    def page(
        self, *, before: int | None = None, limit: int = PAGE, starred: bool = False,
        trashed: bool = False, project: int | None = None,
    ) -> list[Picture]:  # fmt: skip
        """The newest, or the newest of those older than the one numbered `before`."""
        in_bin = pictures.c.trashed_at.is_not(None) if trashed else pictures.c.trashed_at.is_(None)
        conditions: list[ColumnElement[bool]] = [in_bin]
        if starred:
            conditions.append(pictures.c.starred)
        if project is not None:
            conditions.append(pictures.c.project_id == project)
        if before is not None:
            conditions.append(pictures.c.id < before)
        return self._select(*conditions, limit=limit)

    def count(self, project: int, *, starred: bool = False) -> int:
        """How many are in a project."""
        inside = (pictures.c.project_id == project, pictures.c.trashed_at.is_(None), self._seen)
        found = select(func.count()).select_from(pictures).where(*inside)
        if starred:
            found = found.where(pictures.c.starred)
        with self._database.reading() as connection:
            return connection.execute(found).scalar() or 0

    def has_drawn_with(self, adapter: int) -> bool:
        """Whether an adapter was ever used, in pictures that are not in the bin."""
        told = pictures.c.asked.contains(f'"adapters": [{{"id": {adapter},', autoescape=True)
        more = pictures.c.asked.contains(f'}}, {{"id": {adapter},', autoescape=True)
        found = select(pictures.c.id).where(
            told | more, pictures.c.trashed_at.is_(None), self._seen
        )
        with self._database.reading() as connection:
            return connection.execute(found.limit(1)).first() is not None

    def beside(self, number: int) -> tuple[int | None, int | None]:
        """The numbers of the newer and the older neighbour."""
        kept = select(pictures.c.id).where(pictures.c.trashed_at.is_(None), self._seen).limit(1)
        newer = kept.where(pictures.c.id > number).order_by(pictures.c.id)
        older = kept.where(pictures.c.id < number).order_by(pictures.c.id.desc())
        with self._database.reading() as connection:
            return connection.execute(newer).scalar(), connection.execute(older).scalar()

    def going(self) -> list[Job]:
        """Jobs that wait, work or have lately failed, the newest first."""
        latest = self._jobs.page(task=Task.GENERATE, limit=20)
        waiting = [job for job in latest if job.state not in ENDED]
        return waiting + [job for job in latest[:1] if job.state is State.FAILED]

    def in_the_way(self) -> Job | None:
        """A run that one may see and that holds the device while pictures wait, or None."""
        return next(iter(self._jobs.page(states=HELD, limit=1)), None)

    def star(self, number: int, *, starred: bool) -> Picture:
        """Mark or unmark one."""
        return self._put(number, starred=starred)

    def share(self, number: int, visibility: Visibility) -> Picture:
        """Say who else may see one."""
        return self._put(number, visibility=visibility)

    def trash(self, number: int) -> Picture:
        """Out of the history, for 30 days."""
        return self._put(number, trashed_at=time.time())

    def restore(self, number: int) -> Picture:
        """Back into the history. Raises PictureUnknown where its file is gone with its job."""
        return self._put(number, trashed_at=None)

    def empty_bin(self) -> None:
        """Remove the files of what was thrown away long ago."""
        old = time.time() - BIN_DAYS * 24 * 3600
        everybodys = self.seen_by(ALONE)
        for picture in everybodys._select(pictures.c.trashed_at < old, limit=100_000):
            for path in (picture.path, picture.small_path):
                path.unlink(missing_ok=True)

    def saved(self, project: int | None = None) -> list[Saved]:
        """The person's own prompts that are kept, or those in a project, the newest first."""
        found = select(prompts).where(self._own).order_by(prompts.c.id.desc()).limit(MOST_SAVED)
        if project is not None:
            found = found.where(prompts.c.project_id == project)
        with self._database.reading() as connection:
            return [Saved(row.id, row.prompt, row.negative) for row in connection.execute(found)]

    def save_prompt(self, prompt: str, negative: str, project: int | None = None) -> None:
        """Keep a prompt, in a project or none; one that is kept already comes first, and stays in
        its project where none is given."""
        check(self._person, "add")
        values: dict[str, object] = {"prompt": prompt, "negative": negative}
        same = (prompts.c.prompt == prompt) & (prompts.c.negative == negative)
        with self._database.writing() as connection:
            kept = connection.execute(select(prompts.c.project_id).where(same, self._own)).scalar()
            connection.execute(delete(prompts).where(same, self._own))
            values |= {"created_at": time.time(), "owner_id": self._person.id}
            values["project_id"] = joined(connection, self._person, project) or kept
            connection.execute(insert(prompts).values(**values))

    def forget_prompt(self, number: int) -> None:
        """Keep it no longer. Raises PictureUnknown where the person has none of that number."""
        gone = delete(prompts).where(prompts.c.id == number, self._own)
        with self._database.writing() as connection:
            if not connection.execute(gone).rowcount:
                raise PictureUnknown(f"There is no saved prompt {number}.")

    def prompt(self, number: int) -> Saved:
        """One's own. Raises PictureUnknown."""
        own = select(prompts).where(prompts.c.id == number, self._own)
        with self._database.reading() as connection:
            row = connection.execute(own).first()
        if row is None:
            raise PictureUnknown(f"There is no saved prompt {number}.")
        return Saved(row.id, row.prompt, row.negative)

    def _put(self, number: int, **values: object) -> Picture:
        """Raises PictureUnknown, Forbidden."""
        known = self.get(number)
        check(self._person, "change", known.owner_id, known.visibility)
        with self._database.writing() as connection:
            if locked(connection, known.job.id).is_gone:
                raise PictureUnknown(f"The file of picture {number} has left the bin for good.")
            connection.execute(update(pictures).where(pictures.c.id == number).values(**values))
        return self.get(number)

    def _select(self, *conditions: Any, limit: int) -> list[Picture]:
        found = select(pictures).where(*conditions, self._seen).order_by(pictures.c.id.desc())
        with self._database.reading() as connection:
            rows = connection.execute(found.limit(limit)).all()
            numbers = {row.job_id for row in rows}
            own = connection.execute(select(jobs).where(jobs.c.id.in_(numbers)))
            by_id = {row.id: as_job(row) for row in own}
        return [as_picture(row, by_id[row.job_id]) for row in rows]


def chosen_base(name: str, used: Sequence[Adapter]) -> Base:
    """The base that is named or that the adapters are for. Raises AdapterRefused, BaseUnknown."""
    first = next(iter(used), None)
    if name or first is None:
        base = describe(name or STARTER)
    else:
        found = bases.for_adapter(first.base, first.family)
        if found is None:
            raise AdapterRefused(
                f"No base for {first.name!r} is installed: it is for "
                f"{first.base_title or 'a base that it does not name'}. Add one in "
                "the settings, under Models, or choose a base by hand."
            )
        base = found
    for adapter in used:
        if adapter.family and adapter.family != base.family_id:
            raise AdapterRefused(
                f"{adapter.name!r} is for {adapter.family}, and {base.title} is {base.family_id}: "
                "they do not go together. Choose another base, or switch the adapter off."
            )
    return base


def usable(adapter: Adapter) -> Path:
    """Its file. Raises AdapterRefused where it is in the bin or gone."""
    if adapter.trashed_at is not None or not adapter.path.is_file():
        raise AdapterRefused(f"{adapter.name!r} is in the bin; take it out of there to use it.")
    return adapter.path


def with_triggers(prompt: str, used: Sequence[tuple[Adapter, float]]) -> str:
    """The prompt with the triggers that it lacks in front of it."""
    missing = [
        adapter.trigger
        for adapter, scale in used
        if scale and adapter.trigger and adapter.trigger.lower() not in prompt.lower()
    ]
    return ", ".join([*dict.fromkeys(missing), prompt])


def fitted(side_px: int | None, base: Base) -> int | None:
    """The nearest side that the base can draw."""
    if side_px is None:
        return None
    return max(round(side_px / base.multiple_px), 1) * base.multiple_px


def _variants(scales: Sequence[float], *, compare: bool) -> list[tuple[float, ...]]:
    own = tuple(scales)
    return [own, (0.0,) * len(own)] if compare and any(own) else [own]


def _told(one: Wanted, base: Base, used: Sequence[Adapter]) -> dict[str, Any]:
    adapters = [
        {"id": adapter.id, "name": adapter.name, "scale": scale}
        for adapter, scale in zip(used, one.scales, strict=True)
        if scale
    ]
    return {**one.model_dump(exclude={"scales"}), "base": base.name, "adapters": adapters}
