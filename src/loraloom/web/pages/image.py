"""One picture of a dataset: large, with its caption, its crop and what was found in it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, Response

from loraloom.captions import bulk, completeness, vocabulary
from loraloom.captions.marked import mark
from loraloom.dataset import gallery, rotation
from loraloom.dataset.buckets import Crop, choose_bucket, plan_crop
from loraloom.dataset.readiness.native import native_of
from loraloom.dataset.snapshot import Contents, Picture
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import LoraloomError
from loraloom.studio.token_count import count_tokens
from loraloom.studio.workbench import Workbench
from loraloom.web.api.dataset_pictures import findings_of
from loraloom.web.api.datasets import Text, Version, state
from loraloom.web.bench import BenchNow, DatasetNow, Sha
from loraloom.web.pages.checks import mended_by_words
from loraloom.web.pages.datasets import url
from loraloom.web.pages.gallery import common
from loraloom.web.render import back, page, part
from loraloom.web.texts import language
from loraloom.web.texts import translate as _

router = APIRouter(prefix="/datasets/{dataset}")
Pixels = Annotated[int, Form(ge=0, le=10**6)]


SETTLED_BY = 200
"""Pictures whose captions tell what is usual in the set, such as several hairstyles."""


@router.get("/images/{sha256}")
def show(
    request: Request,
    bench: BenchNow,
    stored: DatasetNow,
    sha256: Sha,
    q: Text = "",
    concept: Text = "",
    finding: Text = "",
    v: Version = "",
    history: bool = False,
    similar: bool = False,
) -> Response:
    """The picture among those that were found with it, now or in a version; `history`: with its
    earlier captions, `similar`: with what looks like it, which take a moment in a large set."""
    contents = state(stored, v)
    picture = bulk.find(stored, contents, sha256)
    findings = findings_of(bench, stored)
    among = gallery.select(contents, gallery.Query(q, concept, finding), findings)
    place = next((n for n, one in enumerate(among, 1) if one.sha256 == sha256), 0)
    before, after = gallery.neighbours(among, sha256)
    asked = {"q": q, "concept": concept, "finding": finding, "v": v}
    aim = bench.checks.aim(stored)
    native, fit = _fit(picture, aim.base)
    return page(
        request,
        "datasets/image.html",
        **common(bench, stored, contents, "gallery"),
        v=v,
        picture=picture,
        before=before,
        after=after,
        place=place,
        count=len(among),
        search=urlencode({name: value for name, value in asked.items() if value}),
        found=findings.get(sha256, ()),
        mendable=any(one.code in mended_by_words(contents) for one in findings.get(sha256, ())),
        **_reading(bench, stored, contents, picture, picture.caption),
        history=stored.earlier_captions(sha256) if history else None,
        asks_similar=similar,
        similar=_similar(bench, stored, contents, sha256) if similar else None,
        fit=fit,
        native=native,
        last_edit=stored.last_edit if stored.can_undo else "",
    )


@router.post("/images/{sha256}/reading")
def reading(
    bench: BenchNow,
    stored: DatasetNow,
    sha256: Sha,
    caption: Annotated[str, Form(max_length=20_000)] = "",
) -> Response:
    """What a caption that is being written says; nothing is changed."""
    contents = stored.working
    picture = bulk.find(stored, contents, sha256)
    text = caption.replace("\r\n", "\n")
    told = _reading(bench, stored, contents, picture, text)
    return HTMLResponse(part("datasets/reading.html", aim=bench.checks.aim(stored), **told))


def _reading(
    bench: Workbench, stored: StoredDataset, contents: Contents, picture: Picture, caption: str
) -> dict[str, Any]:
    """The caption's pieces and its tokens."""
    aim, trigger = bench.checks.aim(stored), contents.concept(picture.concept).trigger
    alike = bulk.by_trigger(contents)[trigger]
    some = alike[:: -(-len(alike) // SETTLED_BY)]
    check = completeness.check_of(aim.kind, aim.base, trigger, some)
    marked = mark(caption, check)
    own = "zh-TW" if language() == "zh_Hant" else "en"
    titles = {piece.title: vocabulary.title(piece.title, own) for piece in marked.pieces}
    return {"marked": marked, "titled": titles, "tokens": count_tokens(aim.base, caption)}


def _similar(
    bench: Workbench, stored: StoredDataset, contents: Contents, sha256: str
) -> list[tuple[Picture, float]] | None:
    """None where no check has seen the picture."""
    found = bench.checks.similar(stored, sha256)
    by_sha = {picture.sha256: picture for picture in contents.pictures}
    if found is None:
        return None
    return [(by_sha[other], alike) for other, alike in found.items() if other in by_sha]


def _fit(picture: Picture, base: str) -> tuple[str, Crop | None]:
    """What the base is called, and how the picture becomes one of its sizes."""
    try:
        native = native_of(base)
        if picture.is_clip:
            return native.title, None
        size = picture.crop[2:] if picture.crop else (picture.width_px, picture.height_px)
        bucket = choose_bucket(
            *size, resolution_px=native.side_px, multiple=native.multiple_px,
            max_aspect=native.max_aspect,
        )  # fmt: skip
        return native.title, plan_crop(*size, bucket)
    except LoraloomError:
        return base, None


@router.post("/images/{sha256}/crop")
def crop(
    stored: DatasetNow,
    sha256: Sha,
    left: Pixels = 0,
    top: Pixels = 0,
    width: Pixels = 0,
    height: Pixels = 0,
    whole: Annotated[bool, Form()] = False,
) -> Response:
    """Use a part of the picture, or all of it again."""
    picture = bulk.find(stored, stored.working, sha256)
    everything = (left, top, width, height) == (0, 0, picture.width_px, picture.height_px)
    stored.set_crops({sha256: None if whole or everything else (left, top, width, height)})
    sentence = _("All of the picture is used.") if whole or everything else _("The crop is saved.")
    return back(f"{url(stored.name)}/images/{sha256}", sentence)


@router.post("/images/{sha256}/rotation")
def rotate(
    bench: BenchNow,
    stored: DatasetNow,
    sha256: Sha,
    quarters: Annotated[int, Form(ge=-3, le=3)],
    search: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Turn the picture; it becomes another file, and has another address."""
    with bench.decoders.lent() as pool:
        turned = rotation.rotate(stored, [sha256], quarters, pool.turn)[sha256]
    # What was found in the picture is known of the file that it was.
    asked = [(name, value) for name, value in parse_qsl(search) if name != "finding"]
    tail = f"?{urlencode(asked)}" if asked else ""
    return back(f"{url(stored.name)}/images/{turned.sha256}{tail}", _("The picture is rotated."))
