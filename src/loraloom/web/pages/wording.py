"""The captions of a dataset together: how often words are used, and changes of many at once."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from starlette.responses import Response

from loraloom.captions import bulk, exchange, rules, stats
from loraloom.captions.auto import defaults
from loraloom.captions.auto.choice import Choice, tagger_name
from loraloom.captions.auto.order import Wish
from loraloom.captions.bulk import Change
from loraloom.captions.completeness import matrix
from loraloom.captions.edit import Edit
from loraloom.captions.exchange import Taken
from loraloom.dataset.snapshot import Contents
from loraloom.errors import CaptionEditInvalid, LoraloomError
from loraloom.settings import intake_limits
from loraloom.studio import describing
from loraloom.studio.checks import Aim
from loraloom.studio.workbench import Workbench
from loraloom.web.api.dataset_pictures import rows_after
from loraloom.web.api.datasets import Text, Version
from loraloom.web.bench import BenchNow, DatasetNow, Name
from loraloom.web.checked import checked
from loraloom.web.pages.datasets import url
from loraloom.web.pages.gallery import common
from loraloom.web.pages.imports import receive
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.texts import translate_plural
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/datasets/{dataset}")
Action = Literal["", "replace", "add", "remove", "first", "fix", "complete"]
Line = Annotated[str, Form(max_length=500)]
SHOWN, FREQUENT = 60, 120


@router.get("/captions")
def show(
    request: Request,
    studio: StudioNow,
    bench: BenchNow,
    stored: DatasetNow,
    action: Action = "",
    tag: Text = "",
    new: Annotated[str, Query(alias="with", max_length=500)] = "",
    rows: Literal["", "incomplete", "all"] = "",
    after: Version = "",
    taken: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Frequencies; with `action`, what it would change; with `taken`, what an upload would; with
    `rows`, what captions leave out, which takes a while where there are many."""
    contents = stored.working
    aim = bench.checks.aim(stored)
    said = [picture for picture in contents.pictures if picture.caption]
    triggers = {name: contents.concept(name).trigger for name in contents.counts()}
    counted = stats.phrases(
        tuple(picture.caption for picture in said),
        tuple(triggers[picture.concept] for picture in said),
    )
    changes = _changes(contents, aim, action, tag, new) if action else []
    incoming = _incoming(bench, contents, taken) if taken else None
    told = matrix(contents, aim.kind, aim.base) if rows else None
    shown, more = rows_after(told, after, SHOWN, complete=rows == "all") if told else ([], None)
    return page(
        request,
        "datasets/captions.html",
        **common(bench, stored, contents, "captions"),
        action=action,
        tag=tag,
        new=new,
        changes=changes[:SHOWN],
        count=len(changes),
        taken=taken,
        incoming=incoming,
        matrix=told,
        asks=bool(rules.of(aim.kind).required),
        rows=rows,
        shown=shown,
        more=more,
        frequent=list(counted.items())[:FREQUENT],
        captioned=len(said),
        with_trigger=_with_trigger(contents),
        described=describing.latest(studio.jobs, stored.name),
        taggers=describing.taggers(),
        usual_tagger=tagger_name(Choice(), aim.base),
        threshold=defaults.tagger().threshold,
        last_edit=stored.last_edit if stored.can_undo else "",
    )


def _incoming(bench: Workbench, contents: Contents, upload: str) -> Taken:
    """What the captions of an upload would change."""
    path, name = bench.uploads.path(upload), bench.uploads.get(upload).name
    return exchange.take(contents, exchange.read(path, name, intake_limits()))


@router.post("/wording/file")
def look_at_file(
    bench: BenchNow, stored: DatasetNow, file: Annotated[UploadFile, File()]
) -> Response:
    """Keep a file of captions, and show what it would change."""
    if not file.filename:
        raise CaptionEditInvalid(_("Choose a file of captions first."))
    upload = receive(bench.uploads, file)
    try:
        _incoming(bench, stored.working, upload)
    except LoraloomError:
        bench.uploads.remove(upload)
        raise
    return back(f"{url(stored.name)}/captions?taken={upload}#incoming")


@router.post("/wording/take")
def take_file(
    bench: BenchNow,
    stored: DatasetNow,
    taken: Annotated[str, Form(max_length=64)],
    leave: Annotated[bool, Form()] = False,
    seen: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Write what was shown, or leave it; shown again where the dataset is not as it was `seen`."""
    if leave:
        bench.uploads.remove(taken)
        return back(f"{url(stored.name)}/captions")
    if seen != stored.working.hash:
        told = _("The dataset was changed meanwhile: look at what would change now.")
        return back(f"{url(stored.name)}/captions?taken={taken}#incoming", told)
    found = _incoming(bench, stored.working, taken)
    count = bulk.write(stored, found.changes, f"captions of {bench.uploads.get(taken).name}")
    bench.uploads.remove(taken)
    told = translate_plural("%(num)s caption changed.", "%(num)s captions changed.", count)
    return back(f"{url(stored.name)}/captions", told % {"num": count})


def _with_trigger(contents: Contents) -> dict[str, tuple[str, int, int]]:
    """Concept -> its trigger, captions that have it, captions."""
    found = {}
    for name in contents.counts():
        trigger = contents.concept(name).trigger
        said = [p.caption for p in contents.pictures if p.concept == name and p.caption]
        have = sum(trigger.casefold() in caption.casefold() for caption in said)
        found[name] = (trigger, have if trigger else 0, len(said))
    return found


def _changes(contents: Contents, aim: Aim, action: Action, tag: str, new: str) -> list[Change]:
    if action in ("fix", "complete"):
        return bulk.fixes(contents, aim.kind, aim.base, may_assume=action == "complete")
    tag, new = tag.strip(), new.strip()
    if not tag:
        raise CaptionEditInvalid(_("Write the words that are to be added, removed or replaced."))
    change = {
        "replace": Edit(replace=((tag, new),)),
        "add": Edit(add=(tag,)),
        "remove": Edit(remove=(tag,)),
        "first": Edit(first=(tag,)),
    }[action]
    return bulk.edits(contents, {picture.sha256 for picture in contents.pictures}, change)


@router.post("/wording")
def change(
    bench: BenchNow,
    stored: DatasetNow,
    action: Annotated[Action, Form()],
    tag: Annotated[str, Form(max_length=500)] = "",
    new: Annotated[str, Form(alias="with", max_length=500)] = "",
) -> Response:
    """Do what was shown."""
    found = _changes(stored.working, bench.checks.aim(stored), action, tag, new)
    what = f"{action} “{tag[:60]}”" if tag else "mended captions"
    count = bulk.write(stored, found, what)
    told = translate_plural("%(num)s caption changed.", "%(num)s captions changed.", count)
    return back(f"{url(stored.name)}/captions", told % {"num": count})


@router.post("/describe")
def describe(
    studio: StudioNow,
    bench: BenchNow,
    name: Name,
    by: Line = "",
    provider: Line = "",
    model: Line = "",
    key_env: Line = "",
    language: Line = "",
    prompt: Line = "",
    threshold: Line = "",
    concept: Line = "",
    scope: Annotated[Literal["missing", "all"], Form()] = "missing",
) -> Response:
    """Queue automatic captions, for what the dataset is for."""
    aim = bench.checks.aim(studio.datasets.open(name))
    if by == "provider":
        asked = {"provider": provider, "model": model, "key_env": key_env, "language": language,
                 "prompt": prompt}  # fmt: skip
    else:
        asked = {"tagger": by, "threshold": threshold}
    asked |= {"concept": concept, "base": aim.base}
    given = {key: value.strip() for key, value in asked.items() if value.strip()}
    wish = checked(Wish, {**given, "kind": aim.kind, "replace": scope == "all"})
    describing.start(studio.jobs, studio.datasets, name, wish)
    return back(f"{url(name)}/captions", _("The pictures are in the queue to be described."))
