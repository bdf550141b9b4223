"""Projects: what belongs together of datasets, runs, adapters, pictures and prompts.

A thing is in one project or in none. A run is in that of its dataset, its adapter with it, and
pictures in that of the first adapter that draws them; each can be put elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, insert, select, update

from loraloom.dataset.intake import examine, list_source
from loraloom.dataset.snapshot import MAIN, Contents, folder_name, joined_alike
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import (
    ConfigInvalid,
    DatasetDamaged,
    DatasetNameInvalid,
    DatasetUnknown,
    ProjectUnknown,
)
from loraloom.files import telling_failures
from loraloom.settings import intake_limits
from loraloom.studio import sending
from loraloom.studio.adapter import Adapter
from loraloom.studio.database import Database
from loraloom.studio.datasets import Datasets
from loraloom.studio.job import HELD, Job, State, Task
from loraloom.studio.jobs import Jobs
from loraloom.studio.library import BIN_DAYS, Filter, Library
from loraloom.studio.named import NamedEdit
from loraloom.studio.picture import Picture
from loraloom.studio.pictures import Pictures, Saved
from loraloom.studio.rights import ALONE, Person, Visibility, check, readable
from loraloom.studio.tables import adapters, jobs, pictures, projects, prompts

SHOWN = 24
"""The newest of each that a project shows at once."""
FEW = 3
"""The same, where all projects are shown."""
MOST_PACKED = 10_000


class Edit(NamedEdit):
    """What may be changed of a project; None: as it is."""

    name: str | None = Field(default=None, min_length=1, max_length=100)


class New(Edit):
    """A project that is to be made."""

    name: str = Field(min_length=1, max_length=100)
    description: str = Field(default="", max_length=5000)


Number = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Things(BaseModel):
    """Things that can be in a project: datasets by name, the others by number."""

    model_config = ConfigDict(extra="forbid")

    datasets: list[str] = Field(default_factory=list, max_length=200)
    adapters: list[Number] = Field(default_factory=list, max_length=1000)
    pictures: list[Number] = Field(default_factory=list, max_length=1000)
    prompts: list[Number] = Field(default_factory=list, max_length=1000)
    jobs: list[Number] = Field(default_factory=list, max_length=1000)


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
    TRY = "try"  # the newest adapter has drawn nothing
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
    adapter_count: int
    """Of all, not of the newest alone."""
    picture_count: int


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

    def create(self, new: New) -> Project:
        """An empty one. Raises Forbidden."""
        check(self._person, "add")
        values = {
            "name": new.name, "description": new.description, "owner_id": self._person.id,
            "visibility": new.visibility or Visibility.PRIVATE, "created_at": time.time(),
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

    def overview(self, limit: int | None = None) -> list[tuple[Project, Inside, Step]]:
        """All by name, or the newest few of them, each with what is in it and its next step."""
        found = self.all()
        if limit is not None:
            newest = sorted(found, key=lambda one: one.created_at, reverse=True)[:limit]
            found = [one for one in found if one in newest]
        sets = self._datasets.by_project()
        insides = [self._inside(one.id, sets.get(one.id, []), FEW) for one in found]
        return [(one, i, self.next(one.id, i)) for one, i in zip(found, insides, strict=True)]

    def inside(self, number: int) -> Inside:
        """What is in it."""
        return self._inside(number, self._datasets.by_project().get(number, []), SHOWN)

    def _inside(self, number: int, datasets: list[str], limit: int) -> Inside:
        return Inside(
            datasets,
            self._jobs.page(project=number, limit=limit),
            self._library.page(Filter(project=number), limit=limit),
            self._pictures.page(project=number, limit=limit),
            self._pictures.saved(number)[:limit],
            self._library.count(Filter(project=number)),
            self._pictures.count(number),
        )

    def next(self, number: int, inside: Inside) -> Step:
        """What is to be done next in the project of that number."""
        going = [job for job in inside.runs if job.state in HELD or job.state is State.QUEUED]
        if going:
            return Step(Next.WATCH, str(going[0].id))
        for name in inside.datasets:
            try:
                held = self._datasets.open(name).working.pictures
            except (DatasetDamaged, DatasetUnknown):
                continue  # its own page tells
            if not held:
                return Step(Next.BRING, name)
            if not self._was_trained(name):
                bare = not all(picture.caption for picture in held)
                return Step(Next.DESCRIBE if bare else Next.TRAIN, name)
        newest = next(iter(inside.adapters), None)
        if newest and not self._pictures.has_drawn_with(newest.id):
            return Step(Next.TRY, str(newest.id))
        if self._pictures.count(number, starred=True):
            return Step(Next.PACK)
        return Step(Next.NOTHING if inside.datasets or inside.adapters else Next.BRING)

    def _was_trained(self, dataset: str) -> bool:
        """Whether a run that has finished learnt from it; settings name the version too."""
        named = jobs.c.settings.contains(f'"{dataset}@', autoescape=True)
        ended = (jobs.c.task == Task.TRAIN, jobs.c.state == State.FINISHED)
        with self._database.reading() as connection:
            found = connection.execute(select(jobs.c.id).where(named, *ended).limit(1))
            return found.first() is not None

    def pack(self, number: int, name: str, *, starred: bool = True, sets: bool = True) -> str:
        """Make a new dataset of the project's drawn pictures, each with its prompt as its caption,
        and of all that its datasets hold; the dataset's name.

        `starred`: only the starred ones of those drawn; `sets`: those of the datasets too, each a
        concept of its own beside others. Raises ProjectUnknown, Forbidden, DatasetNameInvalid,
        ConfigInvalid where there is no picture or too many, DatasetBusy, DatasetDamaged, DiskFull
        and IntakeRefused, with nothing left behind.
        """
        self._to_change(number)
        made = self._datasets.place(name)
        listed = self._pictures.page(project=number, limit=MOST_PACKED + 1, starred=starred)
        if len(listed) > MOST_PACKED:
            raise ConfigInvalid(
                f"More than {MOST_PACKED} pictures would be packed; star those that are to be."
            )
        drawn = [picture for picture in listed if picture.is_drawn]
        names = self._datasets.by_project().get(number, []) if sets else []
        sources = [stored for stored in map(self._datasets.open, names) if stored.working.pictures]
        if not drawn and not sources:
            raise ConfigInvalid("There is no picture to pack; star some, or bring a dataset in.")
        with made.changing(), ExitStack() as stack:
            if made.exists:
                raise DatasetNameInvalid(
                    f"There is a dataset {name!r} already; choose another name."
                )
            self._datasets.claim(made)
            folder = stack.enter_context(made.staging())  # which takes all back where it fails
            parts = []
            if drawn:
                listing = list_source([_told(drawn, folder / "drawn")], intake_limits())
                intake = stack.enter_context(examine(made, listing))
                intake.refuse_if_broken(skip_broken=False)
                made.objects.take(intake.wanted(Contents()))
                parts.append(Contents(tuple(intake.pictures), tuple(intake.concepts)))
            for stored in sources:
                made.objects.take(_copied(stored, folder))
                alone = len(sources) == 1 and not drawn
                parts.append(stored.working if alone else _renamed(stored))
            made.put(_joined(parts), "packed")
            self._datasets.put(name, number)
        return name

    def empty_bin(self) -> None:
        """Forget what was thrown away long ago."""
        old = select(projects.c.id).where(
            projects.c.trashed_at < time.time() - BIN_DAYS * 24 * 3600
        )
        with self._database.reading() as connection:
            gone = [row.id for row in connection.execute(old)]
        if not gone:
            return
        everybodys = self._datasets.seen_by(ALONE)
        for project, names in everybodys.by_project().items():
            for name in names if project in gone else ():
                everybodys.put(name, None)
        with self._database.writing() as connection:
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


def _told(drawn: list[Picture], folder: Path) -> Path:
    """A folder of drawn pictures with their prompts."""
    with telling_failures(folder):
        folder.mkdir()
        rows = [sending.row(picture, str(picture.asked["prompt"]), folder) for picture in drawn]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")
    return folder


def _copied(stored: StoredDataset, folder: Path) -> Iterator[tuple[str, Path]]:
    """Each picture and mask of a dataset, beside; linked where that can be: they never change."""
    contents = stored.working.pictures
    for sha256 in dict.fromkeys(sha for one in contents for sha in (one.sha256, one.mask) if sha):
        stored.objects.verify(sha256, stored.name)
        source, target = stored.objects.path(sha256), folder / sha256
        with telling_failures(target):
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
        yield sha256, target


def _renamed(stored: StoredDataset) -> Contents:
    """What a dataset holds, its concepts by its own name, so that each keeps its trigger."""
    contents = stored.working

    def new(concept: str) -> str:
        return stored.name if concept == MAIN else folder_name(f"{stored.name} {concept}")

    return Contents(
        tuple(replace(one, concept=new(one.concept)) for one in contents.pictures),
        tuple(replace(one, name=new(one.name)) for one in contents.concepts),
        contents.alike,
    )


def _joined(parts: list[Contents]) -> Contents:
    """All in one; of the same picture the first."""
    held = {one.sha256: one for part in reversed(parts) for one in reversed(part.pictures)}
    concepts = {one.name: one for part in reversed(parts) for one in part.concepts}
    alike = joined_alike(*(part.alike for part in parts))
    return Contents(tuple(reversed(held.values())), tuple(reversed(concepts.values())), alike)


def _as_project(row: Any) -> Project:
    return Project(
        row.id, row.name, row.description, row.owner_id, Visibility(row.visibility),
        row.created_at, row.trashed_at,
    )  # fmt: skip
