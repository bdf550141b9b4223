"""The library of adapters: those of finished runs come by themselves, others are imported."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from sqlalchemy import ColumnElement, Connection, Select, func, insert, or_, select, update

from loraloom.errors import AdapterUnknown
from loraloom.kinds import Kind
from loraloom.settings import data_folder
from loraloom.studio import run_files
from loraloom.studio.adapter import FILE, MOST_TAGS, Adapter, as_adapter, clean_tags
from loraloom.studio.bases import refuse_folder
from loraloom.studio.database import Database
from loraloom.studio.job import Job, State, Task
from loraloom.studio.named import NamedEdit, split_words
from loraloom.studio.registering import of_run, of_step, put_file
from loraloom.studio.rights import ALONE, Person, Visibility, check, may, readable
from loraloom.studio.rows import as_job, locked
from loraloom.studio.tables import adapters, jobs

PAGE = 60
BIN_DAYS = 30
"""What is thrown away can be taken back for so long."""


class Edit(NamedEdit):
    """What may be changed of an adapter; None: as it is."""

    kind: Kind | None = None
    tags: list[str] | None = Field(default=None, max_length=MOST_TAGS)
    trigger: str | None = Field(default=None, max_length=200)
    base: str | None = Field(default=None, max_length=500)
    scale: float | None = Field(default=None, ge=-1, le=2)
    alias: str | None = Field(default=None, max_length=40)
    starred: bool | None = None

    @field_validator("tags")
    @classmethod
    def _words(cls, tags: list[str] | None) -> list[str] | None:
        return tags if tags is None else clean_tags(tags)


@dataclass(frozen=True)
class Filter:
    """Which adapters are looked for; "" is any."""

    words: str = ""
    kind: str = ""
    family: str = ""
    tag: str = ""
    visibility: str = ""
    starred: bool = False
    trashed: bool = False
    project: int | None = None


@dataclass(frozen=True)
class Facets:
    """What there is to filter by, with how many have it."""

    kinds: Mapping[str, int] = field(default_factory=dict)
    families: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)


class Library:
    """All adapters of an installation, as somebody may see and change them."""

    def __init__(self, database: Database, person: Person = ALONE) -> None:
        """Others' private adapters are not there; new ones are the person's."""
        self._database = database
        self._person = person
        self._seen = readable(person, adapters.c.owner_id, adapters.c.visibility)

    def seen_by(self, person: Person) -> Library:
        """The same adapters as somebody sees and may change them."""
        return Library(self._database, person)

    def register(self, job_id: int | None = None) -> None:
        """Take in the adapters of runs that have finished since, or of one; again: no change."""
        missing = (
            select(jobs)
            .outerjoin(adapters, adapters.c.job_id == jobs.c.id)
            .where(jobs.c.state == State.FINISHED, jobs.c.task == Task.TRAIN)
            .where(adapters.c.id.is_(None))
            .order_by(jobs.c.id)
        )
        if job_id is not None:
            missing = missing.where(jobs.c.id == job_id)
        with self._database.reading() as connection:
            found = [as_job(row) for row in connection.execute(missing)]
        for job in found:
            self._take_in(job)

    def _take_in(self, job: Job) -> None:
        facts = of_run(job)
        if facts is None:
            return  # its file is gone
        with self._database.writing() as connection:
            locked(connection, job.id)
            own = select(adapters.c.id).where(adapters.c.job_id == job.id)
            if connection.execute(own).first() is None:
                facts["parent_id"] = _before(connection, job)
                adapter = _inserted(connection, facts)
                put_file(job.run_folder / FILE, adapter.path)

    def keep(self, job: Job, step: int, *, average: bool = False) -> Adapter:
        """Take in the adapter of one step of a run, as a version beside the one of its end.

        Again: the one that is there, out of the bin. Where the run ended with the very same file,
        that is the one. Raises AdapterUnknown, AdapterUnreadable, Forbidden, DiskFull.
        """
        check(self._person, "change", job.owner_id, job.visibility)
        path = run_files.kept_adapters(job.run_folder).get((step, average))
        if job.task is not Task.TRAIN or path is None:
            raise AdapterUnknown(
                f"Run {job.id} keeps no such adapter of step {step}; its page lists those that it "
                "keeps."
            )
        self.register()
        facts = of_step(job, step, path, average=average)
        with self._database.writing() as connection:
            locked(connection, job.id)
            kept = (adapters.c.kept_job_id == job.id) & (adapters.c.kept_file == path.name)
            ended = (adapters.c.job_id == job.id) & (adapters.c.sha256 == facts["sha256"])
            found = select(adapters).where(or_(kept, ended)).order_by(~kept)
            row = connection.execute(found).first()
            if row is None:
                facts["parent_id"] = _before(connection, job)
                adapter = _inserted(connection, facts)
            else:
                adapter = as_adapter(row)
                _put(connection, adapter.id, trashed_at=None)
            if not adapter.path.is_file():
                put_file(path, adapter.path)
            return _get(connection, adapter.id)

    def kept_of(self, job_id: int) -> dict[str, Adapter]:
        """Files of a run -> the adapters that they became, as far as those are not in the bin."""
        made = or_(adapters.c.job_id == job_id, adapters.c.kept_job_id == job_id)
        found = select(adapters).where(made, adapters.c.trashed_at.is_(None), self._seen)
        with self._database.reading() as connection:
            kept = [as_adapter(row) for row in connection.execute(found)]
        return {f"adapters/{one.kept_file}" if one.kept_file else FILE: one for one in kept}

    def add(self, facts: Mapping[str, Any]) -> Adapter:
        """A row for an imported file, which its caller then puts into the adapter's folder.

        Raises Forbidden.
        """
        check(self._person, "add")
        whose = {"owner_id": self._person.id, "visibility": Visibility.PRIVATE}
        with self._database.writing() as connection:
            return _inserted(connection, {**facts, **whose})

    def get(self, number: int) -> Adapter:
        """Raises AdapterUnknown."""
        with self._database.reading() as connection:
            return self._get(connection, number)

    def of_job(self, job_id: int) -> Adapter | None:
        """The adapter that a run made."""
        made = select(adapters).where(adapters.c.job_id == job_id, self._seen)
        with self._database.reading() as connection:
            row = connection.execute(made).first()
        return None if row is None else as_adapter(row)

    def with_hash(self, sha256: str) -> Adapter | None:
        """One with the very same file, not in the bin."""
        same = select(adapters).where(adapters.c.sha256 == sha256, adapters.c.trashed_at.is_(None))
        same = same.where(self._seen)
        with self._database.reading() as connection:
            row = connection.execute(same).first()
        return None if row is None else as_adapter(row)

    def page(
        self, wanted: Filter = Filter(), *, before: int | None = None, limit: int = PAGE
    ) -> list[Adapter]:
        """The newest, or the newest of those older than the one numbered `before`."""
        self.register()
        found = _matching(select(adapters), wanted).where(self._seen)
        found = found.order_by(adapters.c.id.desc()).limit(limit)
        if before is not None:
            found = found.where(adapters.c.id < before)
        with self._database.reading() as connection:
            return [as_adapter(row) for row in connection.execute(found)]

    def count(self, wanted: Filter = Filter()) -> int:
        """How many match."""
        counted = _matching(select(func.count()).select_from(adapters), wanted)
        counted = counted.where(self._seen)
        with self._database.reading() as connection:
            return connection.execute(counted).scalar() or 0

    def facets(self) -> Facets:
        """Over all that are not in the bin."""
        columns = select(adapters.c.kind, adapters.c.family, adapters.c.tags)
        found = columns.where(adapters.c.trashed_at.is_(None), self._seen)
        with self._database.reading() as connection:
            rows = connection.execute(found).all()
        kinds = Counter(row.kind for row in rows if row.kind)
        families = Counter(row.family for row in rows if row.family)
        tags = Counter(tag for row in rows for tag in json.loads(row.tags))
        return Facets(dict(kinds), dict(families), dict(tags.most_common(30)))

    def versions(self, adapter: Adapter) -> list[Adapter]:
        """Its family tree, itself included, the oldest first."""
        pairs = select(adapters.c.id, adapters.c.parent_id)
        with self._database.reading() as connection:
            parents = {row.id: row.parent_id for row in connection.execute(pairs)}
            root = _root(parents, adapter.id)
            own = [number for number in parents if _root(parents, number) == root]
            found = select(adapters).where(adapters.c.id.in_(own)).order_by(adapters.c.id)
            rows = connection.execute(found.where(adapters.c.trashed_at.is_(None), self._seen))
            return [as_adapter(row) for row in rows]

    def edit(
        self, number: int, edit: Edit, check: Callable[[Adapter], None] = lambda adapter: None
    ) -> Adapter:
        """Change what is given, unless `check` refuses what there is; an alias is taken from the
        other versions.

        Raises AdapterUnknown, Forbidden, ConfigInvalid where somebody else than an owner of the
        studio names a folder as its base.
        """
        values = edit.model_dump(exclude_none=True)
        known = self.get(number)
        if values.get("base", known.base) != known.base:
            refuse_folder(self._person, values["base"])
        if "tags" in values:
            values["tags"] = json.dumps(values["tags"], ensure_ascii=False)
        others = self.versions(known) if values.get("alias") else []
        with self._database.writing() as connection:
            self._check(connection, number)
            check(_get(connection, number))
            for other in others:
                if other.alias == values["alias"] and self._may_change(other):
                    _put(connection, other.id, alias="")
            if values:
                _put(connection, number, **values)
            return _get(connection, number)

    def keep_covers(self, folder: Path) -> None:
        """Put the covers that lie in a folder beside their adapters, before it is removed."""
        below = f"{folder.relative_to(data_folder())}/"
        found = select(adapters).where(adapters.c.cover.startswith(below, autoescape=True))
        with self._database.reading() as connection:
            shown = [as_adapter(row) for row in connection.execute(found)]
        for adapter in shown:
            source = adapter.cover_path
            if source is not None and adapter.folder.is_dir():
                kept = adapter.folder / f"cover{source.suffix}"
                put_file(source, kept)
                self.set_cover(adapter.id, str(kept.relative_to(data_folder())))

    def set_cover(self, number: int, cover: str) -> Adapter:
        """`cover`: a picture, by its path below the data folder."""
        with self._database.writing() as connection:
            self._check(connection, number)
            _put(connection, number, cover=cover)
            return _get(connection, number)

    def trash(self, number: int) -> Adapter:
        """Into the bin for 30 days. Again: no change."""
        with self._database.writing() as connection:
            if self._check(connection, number).trashed_at is None:
                _put(connection, number, trashed_at=time.time(), alias="")
            return _get(connection, number)

    def restore(self, number: int) -> Adapter:
        """Out of the bin. Raises AdapterUnknown where its file is gone."""
        with self._database.writing() as connection:
            adapter = self._check(connection, number)
            if not adapter.path.is_file():
                raise AdapterUnknown(f"The file of adapter {number} has left the bin for good.")
            _put(connection, number, trashed_at=None)
            return _get(connection, number)

    def empty_bin(self) -> None:
        """Remove the files of what was thrown away long ago. The rows stay: runs are not taken in
        again."""
        old = time.time() - BIN_DAYS * 24 * 3600
        with self._database.reading() as connection:
            found = select(adapters).where(adapters.c.trashed_at < old)
            gone = [as_adapter(row) for row in connection.execute(found)]
        for adapter in gone:
            shutil.rmtree(adapter.folder, ignore_errors=True)

    def _get(self, connection: Connection, number: int) -> Adapter:
        return _get(connection, number, self._seen)

    def _check(self, connection: Connection, number: int) -> Adapter:
        """For a change. Raises AdapterUnknown, Forbidden."""
        adapter = self._get(connection, number)
        check(self._person, "change", adapter.owner_id, adapter.visibility)
        return adapter

    def _may_change(self, adapter: Adapter) -> bool:
        return may(self._person, "change", adapter.owner_id, adapter.visibility)


def _matching(found: Select[Any], wanted: Filter) -> Select[Any]:
    columns = adapters.c
    is_in_bin = columns.trashed_at.is_not(None) if wanted.trashed else columns.trashed_at.is_(None)
    found = found.where(is_in_bin)
    for word in split_words(wanted.words):
        texts = (columns.name, columns.description, columns.trigger, columns.tags, columns.alias)
        found = found.where(or_(*(text.icontains(word, autoescape=True) for text in texts)))
    if wanted.kind:
        found = found.where(columns.kind == wanted.kind)
    if wanted.family:
        found = found.where(columns.family == wanted.family)
    if wanted.tag:
        quoted = json.dumps(wanted.tag, ensure_ascii=False)
        found = found.where(columns.tags.contains(quoted, autoescape=True))
    if wanted.visibility:
        found = found.where(columns.visibility == wanted.visibility)
    if wanted.starred:
        found = found.where(columns.starred)
    if wanted.project is not None:
        found = found.where(columns.project_id == wanted.project)
    return found


def _inserted(connection: Connection, facts: Mapping[str, Any]) -> Adapter:
    number = connection.execute(insert(adapters).values(**facts)).inserted_primary_key
    assert number is not None
    return _get(connection, number[0])


def _before(connection: Connection, job: Job) -> int | None:
    """The version before an adapter of a run: of the same run, else of the run it was made from."""
    for run in filter(None, (job.id, job.parent_id)):
        made = or_(adapters.c.job_id == run, adapters.c.kept_job_id == run)
        ended_first = (adapters.c.job_id.is_(None), adapters.c.id)
        found = select(adapters.c.id).where(made).order_by(*ended_first).limit(1)
        row = connection.execute(found).first()
        if row is not None:
            return int(row.id)
    return None


def _get(connection: Connection, number: int, *seen: ColumnElement[bool]) -> Adapter:
    row = connection.execute(select(adapters).where(adapters.c.id == number, *seen)).first()
    if row is None:
        raise AdapterUnknown(f"There is no adapter {number}; see the library for those there are.")
    return as_adapter(row)


def _put(connection: Connection, number: int, **values: object) -> None:
    connection.execute(update(adapters).where(adapters.c.id == number).values(**values))


def _root(parents: Mapping[int, int | None], number: int) -> int:
    for _ in range(len(parents)):
        above = parents.get(number)
        if above is None:
            break
        number = above
    return number
