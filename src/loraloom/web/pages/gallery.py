"""The pictures of a dataset: looked through, chosen, captioned, kept as versions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from loraloom.captions import bulk
from loraloom.captions.auto.order import Wish
from loraloom.captions.edit import Edit
from loraloom.dataset import gallery, snapshot
from loraloom.dataset.snapshot import Concept, Contents, balanced
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CaptionEditInvalid
from loraloom.studio import describing
from loraloom.studio.workbench import Workbench
from loraloom.web.api.dataset_pictures import findings_of
from loraloom.web.api.datasets import Text, Version, state, versions
from loraloom.web.bench import BenchNow, DatasetNow, Sha
from loraloom.web.pages.datasets import url
from loraloom.web.pages.preferences import own
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.texts import translate_plural
from loraloom.web.who import StudioNow

router = APIRouter(prefix="/datasets/{dataset}")
Shas = Annotated[list[str], Form(max_length=100_000)]
Line = Annotated[str, Form(max_length=2000)]


@router.get("")
def show(
    request: Request,
    bench: BenchNow,
    stored: DatasetNow,
    q: Text = "",
    concept: Text = "",
    finding: Text = "",
    v: Version = "",
    only: Version = "",
    after: Version = "",
) -> Response:
    """Pictures by pages, with what can be done to them."""
    contents = state(stored, v)
    findings = findings_of(bench, stored)
    query = gallery.Query(q, concept, finding, only)
    given = {"q": q, "concept": concept, "finding": finding, "v": v}
    among = {key: words for key, words in given.items() if words}
    head = common(bench, stored, contents, "gallery")
    return page(
        request,
        "datasets/gallery.html",
        **head,
        v=v,
        query=query,
        among=among,
        link=lambda **new: _link(stored.name, among | new),
        found=gallery.page(contents, query, findings, after),
        facets=gallery.facets(contents, findings),
        findings=findings,
        versions=versions(stored),
        last_edit=stored.last_edit if stored.can_undo else "",
        names=list(contents.counts()),
        tags=gallery.frequent_tags(contents) if head["mine"] and not (v or after) else [],
    )


def common(
    bench: Workbench, stored: StoredDataset, contents: snapshot.Contents, tab: str
) -> dict[str, Any]:
    """What the head of every page of a dataset shows."""
    report = bench.checks.report(stored)
    return {
        "name": stored.name,
        "whose": bench.store.belonging(stored.name),
        "mine": bench.store.is_own(stored.name),
        "root": url(stored.name),
        "api": f"/api/v1{url(stored.name)}",
        "contents": contents,
        "tab": tab,
        "report": report,
        "aim": bench.checks.aim(stored),
    }


def _link(name: str, parts: dict[str, str]) -> str:
    told = urlencode({key: value for key, value in parts.items() if value})
    return f"{url(name)}?{told}" if told else url(name)


@router.post("/captions/{sha256}")
def caption(
    stored: DatasetNow,
    sha256: Sha,
    caption: Annotated[str, Form(max_length=20_000)] = "",
    given: Annotated[str, Form(max_length=20_000)] = "",
    then: Line = "",
) -> Response:
    """One caption, unless it was changed meanwhile."""
    bulk.set_caption(stored, sha256, caption, given.replace("\r\n", "\n"))
    return back(own(then or url(stored.name)), _("Saved."))


@router.post("/bulk")
def many(
    studio: StudioNow,
    bench: BenchNow,
    stored: DatasetNow,
    action: Annotated[str, Form()],
    sha: Shas = [],  # noqa: B006
    everything: Annotated[bool, Form()] = False,
    q: Line = "",
    concept: Line = "",
    finding: Line = "",
    tag: Line = "",
    with_: Annotated[str, Form(alias="with", max_length=2000)] = "",
    to: Line = "",
    then: Line = "",
) -> Response:
    """What the bar does to the pictures chosen."""
    contents = stored.working
    query = gallery.Query(q, concept, finding)
    found = gallery.select(contents, query, findings_of(bench, stored)) if everything else ()
    present = {picture.sha256 for picture in contents.pictures}
    chosen = {picture.sha256 for picture in found} if everything else present & set(sha)
    if not chosen:
        raise CaptionEditInvalid(_("No picture is chosen; choose some first."))
    if action == "describe":
        aim = bench.checks.aim(stored)
        wish = Wish(kind=aim.kind, base=aim.base, replace=True, pictures=tuple(sorted(chosen)))
        describing.start(studio.jobs, studio.datasets, stored.name, wish)
        return back(
            f"{url(stored.name)}/captions", _("The pictures are in the queue to be described.")
        )
    done = _do(stored, action, chosen, tag.strip(), with_.strip(), to.strip())
    return back(own(then or url(stored.name)), done)


def _do(
    stored: StoredDataset, action: str, chosen: Collection[str], tag: str, new: str, to: str
) -> str:
    if action == "take-out":
        stored.discard(chosen)
        return _counted(len(chosen), _("Taken out; undo brings them back."))
    if action == "move":
        stored.move(chosen, to)
        return _counted(len(chosen), _("Moved."))
    changes = {
        "add": Edit(add=(tag,)),
        "remove": Edit(remove=(tag,)),
        "replace": Edit(replace=((tag, new),)),
        "first": Edit(first=(tag,)),
    }
    if action not in changes or not tag:
        raise CaptionEditInvalid(_("Write the words that are to be added, removed or replaced."))
    found = bulk.edits(stored.working, chosen, changes[action])
    count = bulk.write(stored, found, f"{action} “{tag[:60]}”")
    return translate_plural("%(num)s caption changed.", "%(num)s captions changed.", count) % {
        "num": count
    }


def _counted(count: int, sentence: str) -> str:
    counted = translate_plural("%(num)s picture", "%(num)s pictures", count) % {"num": count}
    return f"{counted}: {sentence}"


@router.post("/undo")
def undo(stored: DatasetNow, then: Line = "") -> Response:
    """Take back the last change."""
    before = stored.working
    undone = stored.undo()
    then = _as_it_was(stored.name, then, before, stored.working)
    return back(own(then or url(stored.name)), _("Taken back: %s") % undone)


def _as_it_was(dataset: str, then: str, before: Contents, now: Contents) -> str:
    """The page of a picture that is another file again, or of all where it is gone."""
    page_of = f"{url(dataset)}/images/"
    sha256, _, tail = then.removeprefix(page_of).partition("?")
    if not then.startswith(page_of) or sha256 in {picture.sha256 for picture in now.pictures}:
        return then
    places = {picture.sha256: place for place, picture in enumerate(before.pictures)}
    if len(before.pictures) != len(now.pictures) or sha256 not in places:
        return ""
    return f"{page_of}{now.pictures[places[sha256]].sha256}{'?' * bool(tail)}{tail}"


@router.post("/concepts")
def concepts(
    stored: DatasetNow,
    concept: Annotated[list[str], Form(max_length=1000)] = [],  # noqa: B006
    trigger: Annotated[list[str], Form(max_length=1000)] = [],  # noqa: B006
    repeats: Annotated[list[int], Form(max_length=1000)] = [],  # noqa: B006
    balance: Annotated[bool, Form()] = False,
    then: Line = "",
) -> Response:
    """Triggers and repeats of all concepts, or repeats that balance them."""
    if balance:
        stored.set_concepts(balanced(stored.working))
    else:
        rows = zip(concept, trigger, repeats, strict=False)
        stored.set_concepts([Concept(name, words.strip(), often) for name, words, often in rows])
    return back(own(then or url(stored.name)), _("The concepts are saved."))


@router.get("/versions")
def show_versions(
    request: Request,
    bench: BenchNow,
    stored: DatasetNow,
    old: Version = "",
    new: Version = "",
) -> Response:
    """Versions, and what changed between two of them."""
    known = versions(stored)
    compared = None
    if old:
        compared = snapshot.diff(state(stored, old), state(stored, new))
    return page(
        request,
        "datasets/versions.html",
        **common(bench, stored, stored.working, "versions"),
        versions=known,
        old=old,
        new=new,
        compared=compared,
        last_edit=stored.last_edit if stored.can_undo else "",
    )


@router.post("/versions")
def keep(stored: DatasetNow, note: Line = "") -> Response:
    """Keep the state of now for ever."""
    whole = stored.snapshot(note.strip())
    return back(f"{url(stored.name)}/versions", _("Kept as version %s.") % whole[:8])


@router.post("/versions/{version}/restore")
def restore(stored: DatasetNow, version: str) -> Response:
    """Make the dataset what a version holds."""
    stored.restore(version)
    return back(url(stored.name), _("The dataset is what the version holds; undo takes it back."))
