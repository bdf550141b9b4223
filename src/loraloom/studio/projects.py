"""Projects: what belongs together of datasets, runs, adapters, pictures and prompts.

A thing is in one project or in none. A run is in that of its dataset, its adapter with it, and
pictures in that of the first adapter that draws them; each can be put elsewhere.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import ColumnElement, insert, select, update

from loraloom.dataset import exports
from loraloom.dataset.intake import import_into
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import ConfigInvalid, DatasetNameInvalid, ProjectUnknown
from loraloom.studio import sending
from loraloom.studio.adapter import Adapter
from loraloom.studio.database import Database
from loraloom.studio.datasets import Datasets
from loraloom.studio.job import HELD, Job, State
from loraloom.studio.jobs import Jobs
from loraloom.studio.library import BIN_DAYS, Filter, Library
from loraloom.studio.picture import Picture
from loraloom.studio.pictures import Pictures, Saved
from loraloom.studio.rights import ALONE, Person, Visibility, check, readable
from loraloom.studio.tables import adapters, jobs, pictures, projects, prompts

SHOWN = 24
"""The newest of each that a project shows at once."""
MOST_PACKED = 10_000


class Edit(BaseModel):
    """What may be changed of a project; None: as it is."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=100)
    description: str | None = Field(default=None, max_length=5000)
    visibility: Visibility | None = None

    @field_validator("name", "description")
    @classmethod
    def _plain(cls, text: str | None) -> str | None:
        return text and text.replace("\0", "").strip()

    @field_validator("name")
    @classmethod
    def _told(cls, name: str | None) -> str | None:
        if name == "":
            raise ValueError("give it a name")
        return name


class Things(BaseModel):
    """Things that can be in a project: datasets by name, the others by number."""

    model_config = ConfigDict(extra="forbid")

    datasets: list[str] = Field(default_factory=list, max_length=200)
    adapters: list[int] = Field(default_factory=list, max_length=1000)
    pictures: list[int] = Field(default_factory=list, max_length=1000)
    prompts: list[int] = Field(default_factory=list, max_length=1000)
    jobs: list[int] = Field(default_factory=list, max_length=1000)


@dataclass(frozen=True)
class Project:
    """One project; times are seconds since 1970."""

    id: int
    name: str
    description: str
    owner_id: int | None
    """The person whose it is; None: the owners of the studio."""
    visibility: Visibility
    created_at: float
    trashed_at: float | None


class Next(StrEnum):
    """What is to be done next in a project."""

    BRING = "bring"  # there are no pictures
    DESCRIBE = "describe"  # some have no caption
    TRAIN = "train"  # a dataset has not been trained on
    WATCH = "watch"  # a run goes on
    TRY = "try"  # an adapter has drawn nothing
    PACK = "pack"  # pictures are starred: they can be the next training set
    NOTHING = "nothing"


@dataclass(frozen=True)
class Step:
    """What is to be done next, and with what: a dataset's name, or the number of the others."""

    next: Next
    what: str = ""


@dataclass(frozen=True)
class Inside:
    """What of a project somebody sees, the newest first."""

    datasets: list[str]
    runs: list[Job]
    adapters: list[Adapter]
    pictures: list[Picture]
    prompts: list[Saved]


class Projects:
    """All projects of an installation, as somebody may see and change them."""

    def __init__(
        self, database: Database, datasets: Datasets, all_jobs: Jobs, library: Library,
        drawn: Pictures, person: Person = ALONE,
    ) -> None:  # fmt: skip
        """`datasets`, `all_jobs`, `library` and `drawn`: as the same person sees them."""
        self._database = database
        self._datasets = datasets
        self._jobs = all_jobs
        self._library = library
        self._pictures = drawn
        self._person = person
        self._seen = readable(person, projects.c.owner_id, projects.c.visibility)

    def seen_by(self, person: Person) -> Projects:
        """The same as somebody sees and may change them."""
        return Projects(
            self._database, self._datasets.seen_by(person), self._jobs.seen_by(person),
            self._library.seen_by(person), self._pictures.seen_by(person), person,
        )  # fmt: skip

    def all(self, *, trashed: bool = False) -> list[Project]:
        """By name; those in the bin apart."""
        in_bin = projects.c.trashed_at.is_not(None) if trashed else projects.c.trashed_at.is_(None)
        found = select(projects).where(self._seen, in_bin).order_by(projects.c.name, projects.c.id)
        with self._database.reading() as connection:
            return [_as_project(row) for row in connection.execute(found)]

    def get(self, number: int) -> Project:
        """Raises ProjectUnknown."""
        found = select(projects).where(projects.c.id == number, self._seen)
        with self._database.reading() as connection:
            row = connection.execute(found).first()
        if row is None:
            raise ProjectUnknown(f"There is no project {number}.")
        return _as_project(row)

    def create(self, name: str, description: str = "") -> Project:
        """A new, empty one. Raises Forbidden."""
        check(self._person, "add")
        values = {
            "name": name, "description": description, "owner_id": self._person.id,
            "visibility": Visibility.PRIVATE, "created_at": time.time(),
        }  # fmt: skip
        with self._database.writing() as connection:
            number = connection.execute(insert(projects).values(**values)).inserted_primary_key
        assert number is not None
        return self.get(number[0])

    def edit(self, number: int, edit: Edit) -> Project:
        """Change what is given. Raises ProjectUnknown, Forbidden."""
        return self._change(number, **edit.model_dump(exclude_none=True))

    def trash(self, number: int) -> Project:
        """Into the bin; what is in it stays where it is. Again: no change."""
        known = self.get(number)
        return known if known.trashed_at else self._change(number, trashed_at=time.time())

    def restore(self, number: int) -> Project:
        """Out of the bin."""
        return self._change(number, trashed_at=None)

    def put(self, number: int | None, things: Things) -> None:
        """Into a project, out of the one where they were; None: into none.

        All or, of what the database holds, nothing. Raises ProjectUnknown, Forbidden, and what is
        raised for a thing that is not there.
        """
        if number is not None:
            self._to_change(number)
        owned: list[Adapter | Picture | Job] = [
            *map(self._library.get, things.adapters),
            *map(self._pictures.get, things.pictures),
            *map(self._jobs.get, things.jobs),
        ]
        for one in owned:
            check(self._person, "change", one.owner_id, one.visibility)
        for prompt in things.prompts:
            self._pictures.prompt(prompt)
        for name in things.datasets:
            self._datasets.open_to_change(name)
        numbers = {
            adapters: things.adapters, pictures: things.pictures, jobs: things.jobs,
            prompts: things.prompts,
        }  # fmt: skip
        with self._database.writing() as connection:
            for table, own in numbers.items():
                there = table.c.id.in_(own)
                connection.execute(update(table).where(there).values(project_id=number))
        for name in things.datasets:
            self._datasets.put(name, number)

    def inside(self, number: int, limit: int = SHOWN) -> Inside:
        """What is in it, of each the newest `limit`."""
        return Inside(
            self._datasets.in_project(number),
            self._jobs.page(project=number, limit=limit),
            self._library.page(Filter(project=number), limit=limit),
            self._pictures.page(project=number, limit=limit),
            self._pictures.saved(number)[:limit],
        )

    def next(self, inside: Inside) -> Step:
        """What is to be done next."""
        going = [job for job in inside.runs if job.state in HELD or job.state is State.QUEUED]
        if going:
            return Step(Next.WATCH, str(going[0].id))
        trained = {adapter.dataset.partition("@")[0] for adapter in inside.adapters}
        for name in inside.datasets:
            held = self._datasets.open(name).working.pictures
            if not held:
                return Step(Next.BRING, name)
            if name not in trained:
                bare = not all(picture.caption for picture in held)
                return Step(Next.DESCRIBE if bare else Next.TRAIN, name)
        used = {one["id"] for picture in inside.pictures for one in picture.asked["adapters"]}
        for adapter in inside.adapters:
            if adapter.id not in used:
                return Step(Next.TRY, str(adapter.id))
        if any(picture.starred and picture.is_drawn for picture in inside.pictures):
            return Step(Next.PACK)
        return Step(Next.NOTHING if inside.datasets or inside.adapters else Next.BRING)

    def pack(self, number: int, name: str, *, starred: bool = True, sets: bool = True) -> str:
        """Make a new dataset of the project's drawn pictures, each with its prompt as its caption,
        and of the pictures of its datasets with theirs; the dataset's name.

        `starred`: only the starred ones of those drawn; `sets`: those of the datasets too. Raises
        ProjectUnknown, Forbidden, DatasetNameInvalid, ConfigInvalid where there is no picture, and
        as `import_into`, with nothing left behind.
        """
        self._to_change(number)
        if not self._datasets.is_free(name):
            raise DatasetNameInvalid(f"There is a dataset {name!r} already; choose another name.")
        made = self._datasets.place(name)
        listed = self._pictures.page(project=number, limit=MOST_PACKED, starred=starred)
        drawn = [picture for picture in listed if picture.is_drawn]
        names = self._datasets.in_project(number) if sets else []
        sources = [stored for stored in map(self._datasets.open, names) if stored.working.pictures]
        if not drawn and not sources:
            raise ConfigInvalid("There is no picture to pack; star some, or bring a dataset in.")
        with tempfile.TemporaryDirectory() as work:
            packed = [_packed(stored, Path(work)) for stored in sources]
            if drawn:
                packed.append(_told(drawn, Path(work) / "drawn"))
            self._datasets.claim(made)
            try:
                for path in packed:
                    import_into(made, [path])
                self._datasets.put(name, number)
            except BaseException:
                shutil.rmtree(made.root, ignore_errors=True)
                raise
        return name

    def empty_bin(self) -> None:
        """Forget what was thrown away long ago."""
        old = projects.c.trashed_at < time.time() - BIN_DAYS * 24 * 3600
        with self._database.writing() as connection:
            gone = [row.id for row in connection.execute(select(projects.c.id).where(old))]
            for table in (jobs, adapters, pictures, prompts):
                inside = table.c.project_id.in_(gone)
                connection.execute(update(table).where(inside).values(project_id=None))
            connection.execute(projects.delete().where(projects.c.id.in_(gone)))

    def _to_change(self, number: int) -> None:
        """Raises ProjectUnknown, Forbidden."""
        known = self.get(number)
        check(self._person, "change", known.owner_id, known.visibility)

    def _change(self, number: int, **values: object) -> Project:
        """Raises ProjectUnknown, Forbidden."""
        self._to_change(number)
        if values:
            one: ColumnElement[bool] = projects.c.id == number
            with self._database.writing() as connection:
                connection.execute(update(projects).where(one).values(**values))
        return self.get(number)


def _packed(stored: StoredDataset, work: Path) -> Path:
    """A ZIP of all that the dataset holds, masks and crops too."""
    target = work / f"{stored.name}.zip"
    exports.export(stored.working, stored.objects, "zip", target)
    return target


def _told(drawn: list[Picture], folder: Path) -> Path:
    """A folder of drawn pictures with their prompts."""
    folder.mkdir()
    rows = [sending.row(picture, str(picture.asked["prompt"]), folder) for picture in drawn]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")
    return folder


def _as_project(row: Any) -> Project:
    return Project(
        row.id, row.name, row.description, row.owner_id, Visibility(row.visibility),
        row.created_at, row.trashed_at,
    )  # fmt: skip
