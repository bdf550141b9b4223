"""/datasets: sets of pictures, their versions, imports, exports and checks."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path as File
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response

from loraloom.captions.auto.order import Wish
from loraloom.dataset import exports, snapshot
from loraloom.dataset.exports import Format
from loraloom.dataset.intake import Uncaptioned
from loraloom.dataset.snapshot import Concept, Contents, balanced
from loraloom.dataset.stored import SnapshotInfo, StoredDataset
from loraloom.findings import Severity
from loraloom.kinds import Kind
from loraloom.studio import describing
from loraloom.studio.bases import refuse_folder
from loraloom.studio.checks import Aim
from loraloom.studio.jobs import Start
from loraloom.studio.rights import Visibility
from loraloom.studio.studio import Studio
from loraloom.web.api.jobs import IdempotencyKey, JobBody, Sharing
from loraloom.web.api.jobs import body as job_body
from loraloom.web.bench import BenchNow, DatasetNow, Name
from loraloom.web.etags import IfMatch, etag, refuse_stale
from loraloom.web.problems import ANSWERS
from loraloom.web.who import PersonNow, StudioNow

router = APIRouter(prefix="/datasets", tags=["datasets"], responses=ANSWERS)
Version = Annotated[str, Query(max_length=64)]
Text = Annotated[str, Query(max_length=500)]
Three = Annotated[list[str], Field(min_length=3, max_length=3)]


class Strict(BaseModel):
    """A body in which nothing may be misspelt."""

    model_config = ConfigDict(extra="forbid")


class ConceptBody(Strict):
    """One thing that is learnt; each of its pictures counts `repeats` times."""

    name: str = Field(max_length=100)
    trigger: str = Field(default="", max_length=400)
    repeats: int = Field(default=1, ge=1, le=10_000)
    pictures: int = 0


class VersionBody(BaseModel):
    """A state that is kept for ever; `made` in seconds since 1970."""

    hash: str
    made: float
    pictures: int
    note: str


class DatasetBody(BaseModel):
    """A dataset as it is now."""

    name: str
    hash: str
    pictures: int
    without_caption: int
    concepts: list[ConceptBody]
    versions: list[VersionBody]
    last_edit: str
    can_undo: bool
    owner: int | None
    """The number of the person whose it is; null: the owners of the studio."""
    visibility: Visibility
    project: int | None


class NewDataset(Strict):
    """A dataset to be made."""

    name: str = Field(max_length=200)


class NewVersion(Strict):
    """Why a state is kept."""

    note: str = Field(default="", max_length=2000)


class Chosen(Strict):
    """A version by its hash or the beginning of it."""

    hash: str = Field(min_length=4, max_length=64)


class Undone(BaseModel):
    """What was taken back."""

    undone: str


class Difference(BaseModel):
    """What changed: pictures by SHA-256, captions as [sha256, before, after]."""

    added: list[str]
    removed: list[str]
    recaptioned: list[Three]
    moved: list[Three]
    reframed: list[str]
    concepts: list[str]


class NewImport(Strict):
    """What was uploaded and is to be looked at, or stored."""

    uploads: list[str] = Field(min_length=1, max_length=100_000)
    uncaptioned: Uncaptioned = "keep"
    skip_broken: bool = False
    store: bool = False


class FindingBody(BaseModel):
    """One thing that is not as it should be; `sha256` of the picture it is about, if any."""

    code: str
    severity: Severity
    item: str
    sha256: str | None
    message: str
    value: float | str | None
    threshold: float | str | None
    fix: str


class ImportBody(BaseModel):
    """What an import would bring, or has brought."""

    stored: bool
    layout: str
    new: list[str]
    """SHA-256 of each new picture."""
    known: int
    junk: int
    can_store: bool
    rest_can_be_stored: bool
    findings: list[FindingBody]


class PartBody(BaseModel):
    """One part of the set: how many pictures it has and should have."""

    name: str
    count: int
    least: int
    most: int


class CopyBody(BaseModel):
    """A picture that another one is kept for, both by SHA-256; `difference` is from 0 on, null
    where they are copies by way of a third."""

    kept: str
    copy_: str = Field(serialization_alias="copy")
    difference: float | None
    mirrored: bool


class CheckBody(BaseModel):
    """A check: what it found (of the last state that was checked), or how far it is."""

    kind: Kind
    base: str
    running: bool
    done: int
    total: int
    error: str
    fresh: bool
    """Whether what was found is about the dataset as it is now."""
    pictures: int
    spotless: int
    coverage: list[PartBody]
    findings: list[FindingBody]
    copies: list[CopyBody]
    looked_for: list[str]
    """The codes of what would have been found."""
    unmeasured: list[str]
    """What could not be looked at, and why."""


class NewCheck(Strict):
    """What the dataset is for."""

    kind: Kind
    base: str = Field(min_length=1, max_length=500)


def versions(stored: StoredDataset) -> list[SnapshotInfo]:
    """The newest first."""
    return stored.snapshots()[::-1]


def state(stored: StoredDataset, version: str) -> Contents:
    """A version, or the dataset as it is now. Raises DatasetUnknown."""
    return stored.read_snapshot(version) if version else stored.working


def _body(studio: Studio, stored: StoredDataset, contents: Contents | None = None) -> DatasetBody:
    contents, whose = contents or stored.working, studio.datasets.belonging(stored.name)
    counts = contents.counts()
    return DatasetBody(
        name=stored.name,
        hash=contents.hash,
        pictures=len(contents.pictures),
        without_caption=sum(not picture.caption for picture in contents.pictures),
        concepts=[
            ConceptBody(name=c.name, trigger=c.trigger, repeats=c.repeats, pictures=counts[c.name])
            for c in map(contents.concept, counts)
        ],
        versions=[_version(info) for info in versions(stored)],
        last_edit=stored.last_edit,
        can_undo=stored.can_undo,
        owner=whose.owner_id,
        visibility=whose.visibility,
        project=whose.project_id,
    )


def _version(info: SnapshotInfo) -> VersionBody:
    return VersionBody(hash=info.hash, made=info.made_s, pictures=info.pictures, note=info.note)


@router.get("")
def list_datasets(studio: StudioNow) -> list[DatasetBody]:
    """List the datasets by name."""
    return [_body(studio, studio.datasets.open(name)) for name in studio.datasets.names()]


@router.post("", status_code=201)
def create_dataset(studio: StudioNow, new: NewDataset) -> DatasetBody:
    """Make an empty dataset."""
    return _body(studio, studio.datasets.create(new.name))


@router.get("/{dataset}")
def show_dataset(studio: StudioNow, stored: DatasetNow, response: Response) -> DatasetBody:
    """One dataset: its concepts and versions; its ETag is for the If-Match of a change."""
    return _tagged(studio, stored, response)


def _tagged(studio: Studio, stored: StoredDataset, response: Response) -> DatasetBody:
    told = _body(studio, stored)
    response.headers["ETag"] = etag(told)
    return told


@router.delete("/{dataset}", status_code=204, response_class=Response)
def remove_dataset(studio: StudioNow, stored: DatasetNow) -> Response:
    """Put a dataset into the bin, for 30 days."""
    studio.datasets.remove(stored.name)
    return Response(status_code=204)


@router.put("/{dataset}/visibility")
def share_dataset(studio: StudioNow, stored: DatasetNow, given: Sharing) -> DatasetBody:
    """Show a dataset to everybody with an account, or to nobody else."""
    studio.datasets.share(stored.name, given.visibility)
    return _body(studio, stored)


@router.post("/{dataset}/recover")
def recover_dataset(studio: StudioNow, name: Name) -> DatasetBody:
    """Take a removed dataset out of the bin."""
    return _body(studio, studio.datasets.recover(name))


@router.post("/{dataset}/undo")
def undo(stored: DatasetNow) -> Undone:
    """Take back the last change; again for the one before."""
    return Undone(undone=stored.undo())


@router.post("/{dataset}/versions", status_code=201)
def keep_version(stored: DatasetNow, new: NewVersion) -> VersionBody:
    """Keep the dataset as it is now, for ever."""
    whole = stored.snapshot(new.note.strip())
    return next(_version(info) for info in stored.snapshots() if info.hash == whole)


@router.post("/{dataset}/restore")
def restore(studio: StudioNow, stored: DatasetNow, chosen: Chosen) -> DatasetBody:
    """Make the dataset what a version holds; undo takes it back."""
    stored.restore(chosen.hash)
    return _body(studio, stored)


@router.get("/{dataset}/difference")
def compare(stored: DatasetNow, old: Version, new: Version = "") -> Difference:
    """What changed from one version to another, or to now."""
    found = snapshot.diff(state(stored, old), state(stored, new))
    return Difference(
        added=[picture.sha256 for picture in found.added],
        removed=[picture.sha256 for picture in found.removed],
        recaptioned=[[a.sha256, a.caption, b.caption] for a, b in found.recaptioned],
        moved=[[a.sha256, a.concept, b.concept] for a, b in found.moved],
        reframed=[a.sha256 for a, _ in found.reframed],
        concepts=[one.name for pair in found.concepts if (one := pair[1] or pair[0])],
    )


@router.put("/{dataset}/concepts")
def describe_concepts(
    studio: StudioNow,
    stored: DatasetNow,
    concepts: list[ConceptBody],
    response: Response,
    if_match: IfMatch = None,
) -> DatasetBody:
    """Give concepts their triggers and repeats.

    With If-Match, only where nobody has changed the dataset meanwhile (412).
    """
    stored.set_concepts(
        [Concept(one.name, one.trigger.strip(), one.repeats) for one in concepts[:1000]],
        lambda now: refuse_stale(if_match, _body(studio, stored, now)),
    )
    return _tagged(studio, stored, response)


@router.post("/{dataset}/concepts/balance")
def balance(studio: StudioNow, stored: DatasetNow) -> DatasetBody:
    """Choose repeats so that all concepts weigh the same."""
    stored.set_concepts(balanced(stored.working))
    return _body(studio, stored)


@router.get("/{dataset}/export", response_class=FileResponse)
def export(bench: BenchNow, stored: DatasetNow, to: Format, v: Version = "") -> FileResponse:
    """A ZIP as another trainer reads it."""
    return packed(bench.cache, stored, to, v)


def packed(cache: File, stored: StoredDataset, to: Format, version: str) -> FileResponse:
    """A version of a dataset as a ZIP."""
    contents = state(stored, version)
    title = stored.name if to == "zip" else f"{stored.name}-{to}"
    return download(
        cache, f"{title}.zip", "application/zip",
        lambda path: exports.export(contents, stored.objects, to, path, packed=True),
    )  # fmt: skip


def download(
    cache: File, name: str, media_type: str, write: Callable[[File], object]
) -> FileResponse:
    """What `write` puts into a new file, which is removed once it was sent."""
    folder = cache / "exports" / secrets.token_hex(8)
    folder.mkdir(parents=True)
    try:
        write(folder / "export")
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    done = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(folder / "export", media_type=media_type, filename=name, background=done)


@router.post("/{dataset}/imports")
def import_uploads(bench: BenchNow, name: Name, new: NewImport) -> ImportBody:
    """Look at what was uploaded, and store it if `store` says so: all of it or nothing.

    The dataset is made by the first import. With `skip_broken` the rest is stored where that is
    safe. Uploads are removed once they are stored.
    """
    found = bench.imports.run(
        name, new.uploads, uncaptioned=new.uncaptioned, skip_broken=new.skip_broken,
        store=new.store,
    )  # fmt: skip
    return ImportBody(
        stored=new.store,
        layout=found.layout,
        new=[picture.sha256 for picture in found.pictures],
        known=found.known,
        junk=found.junk,
        can_store=found.is_sound,
        rest_can_be_stored=found.rest_can_be_stored,
        findings=[FindingBody(**vars(one), sha256=None) for one in found.findings],
    )


@router.get("/{dataset}/checks")
def show_check(
    bench: BenchNow, stored: DatasetNow, kind: Kind | None = None, base: Text = ""
) -> CheckBody:
    """What the last check found, or how far one is that is under way."""
    known = bench.checks.aim(stored)
    aim = Aim(kind or known.kind, base or known.base)
    running = bench.checks.running(stored, aim)
    report = bench.checks.report(stored, aim)
    return CheckBody(
        kind=aim.kind,
        base=aim.base,
        running=running is not None and not running.ended,
        done=running.done if running else 0,
        total=running.total if running else 0,
        error=running.error if running and running.ended else "",
        fresh=report is not None and report.contents == stored.working.hash,
        pictures=report.pictures if report else 0,
        spotless=report.spotless if report else 0,
        coverage=[PartBody(**vars(part)) for part in report.coverage] if report else [],
        findings=[
            FindingBody(**vars(one), sha256=report.shas.get(one.item)) for one in report.findings
        ]
        if report
        else [],
        copies=[
            CopyBody(kept=c.kept, copy_=c.copy, difference=c.difference, mirrored=c.mirrored)
            for c in (report.copies if report else ())
        ],
        looked_for=list(report.looked_for) if report else [],
        unmeasured=list(report.unmeasured) if report else [],
    )


@router.post("/{dataset}/checks")
def check(bench: BenchNow, person: PersonNow, stored: DatasetNow, new: NewCheck) -> CheckBody:
    """Check the dataset, in the background; the kind and the base are remembered."""
    refuse_folder(person, new.base)
    aim = Aim(new.kind, new.base)
    bench.checks.set_aim(stored, aim)
    bench.checks.start(stored, aim)
    return show_check(bench, stored, new.kind, new.base)


@router.post("/{dataset}/descriptions", status_code=202)
def describe(
    studio: StudioNow, name: Name, wish: Wish, idempotency_key: IdempotencyKey = None
) -> JobBody:
    """Queue automatic captions for the pictures without one, or for all with `replace`.

    All are written in one step that can be undone; /jobs/{id}/events tells how far it is.
    """
    start = Start.of(idempotency_key, [name, wish.model_dump(mode="json")])
    return job_body(describing.start(studio.jobs, studio.datasets, name, wish, start)[0])
