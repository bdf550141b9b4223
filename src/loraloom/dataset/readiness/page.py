"""The check as one HTML page with its pictures inside it."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from loraloom.dataset import images
from loraloom.dataset.readiness.check import Progress, Readiness
from loraloom.errors import ImageUnreadable
from loraloom.files import write_atomic
from loraloom.findings import Finding, Severity

MOST_SHOWN = 600
"""Pictures on the page, the worst first; about 6 MB. The others are counted."""
THUMB_PX, THUMB_QUALITY = 240, 72
TITLES = {
    "unreadable": "cannot be opened",
    "low-resolution": "too small",
    "blur": "blurred",
    "exposure": "badly exposed",
    "jpeg-quality": "strongly compressed",
    "near-duplicate": "copy",
    "faces": "several faces",
    "colour-cast": "colour cast",
    "background-dominant": "one background",
    "outfit-dominant": "one outfit",
    "composition": "composition",
    "too-few": "too few pictures",
    "too-many": "too many pictures",
    "concept-overlap": "concepts overlap",
    "caption-missing": "no caption",
    "trigger-missing": "no trigger",
    "trigger-inconsistent": "trigger differs",
    "trigger-common": "common trigger",
    "identity-leak": "caption tells the face",
    "style-leak": "caption tells the style",
    "object-leak": "caption tells the object",
    "concept-leak": "caption tells the concept",
    "scene-leak": "caption tells the place",
    "vocabulary": "wording",
    "incomplete": "caption incomplete",
    "too-brief": "caption too brief",
    "too-long": "caption too long",
    "same-clothing": "same clothing",
    "truncated": "caption cut off",
    "clip-length": "length of clips",
    "clip-rate": "several frame rates",
    "clip-size": "several sizes of clips",
}
GROUPS = {
    "error": "must be mended",
    "warning": "flawed",
    "hint": "with a hint",
    "fine": "faultless",
}


@dataclass(frozen=True)
class Card:
    """One picture on the page."""

    name: str
    size: str
    caption: str
    picture: str | None
    """A `data:` address; None where it cannot be opened."""
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> str:
        """The severity of its gravest finding, or "fine"."""
        return self.findings[0].severity.value if self.findings else "fine"


def write_page(path: Path, found: Readiness, progress: Progress | None = None) -> None:
    """Write the page. Raises DiskFull and OutputUnwritable."""
    environment = Environment(
        loader=PackageLoader("loraloom.dataset.readiness"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cards = list(_cards(found, progress))
    worst = Counter(card.worst for card in cards)
    page = environment.get_template("readiness.html.j2").render(
        found=found,
        cards=cards,
        shown={name: worst[name] for name in GROUPS if worst[name]},
        groups=GROUPS,
        whole=[finding for finding in found.findings if not finding.item],
        codes=Counter(finding.code for finding in found.findings).most_common(),
        gravity={finding.code: finding.severity.value for finding in reversed(found.findings)},
        sizes=_sizes(found),
        titles=TITLES,
        most=max([1, *(max(part.count, part.most) for part in found.coverage)]),
        verdict=_verdict(found.findings),
    )
    write_atomic(path, page.encode(), durable=False)


def _cards(found: Readiness, progress: Progress | None) -> Iterator[Card]:
    """The worst pictures first."""
    by_name: dict[str, list[Finding]] = {}
    for finding in found.findings:
        by_name.setdefault(finding.item, []).append(finding)
    ranks = list(Severity)

    def rank(name: str) -> tuple[int, int, str]:
        mine = by_name.get(name, [])
        return min((ranks.index(f.severity) for f in mine), default=9), -len(mine), name

    pictures = sorted(found.pictures, key=lambda picture: rank(picture.name))[:MOST_SHOWN]
    for number, picture in enumerate(pictures, start=1):
        size = found.measures.get(picture.name)
        yield Card(
            picture.name,
            f"{size.width_px} × {size.height_px}" if size else "–",
            picture.caption,
            thumbnail(picture.path) if size else None,
            tuple(by_name.get(picture.name, ())),
        )
        if progress:
            progress("Drawing the page", number, len(pictures))


def thumbnail(path: Path) -> str | None:
    """The picture, small, as a `data:` address; None where it cannot be opened any more."""
    try:
        picture = images.open_rgb(path)
    except ImageUnreadable:
        return None
    picture.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.BOX, reducing_gap=2.0)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=THUMB_QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _sizes(found: Readiness) -> Mapping[str, str]:
    """The set in numbers."""
    shown = {"Pictures": str(len(found.pictures)), "Nothing wrong with": str(found.spotless)}
    concepts = {picture.concept for picture in found.pictures}
    if len(concepts) > 1:
        shown["Concepts"] = str(len(concepts))
    sides = sorted(min(one.width_px, one.height_px) for one in found.measures.values())
    if sides:
        shown["Short side, median"] = f"{sides[len(sides) // 2]} px"
    shown["Native side of the base"] = f"{found.native.side_px} px"
    return shown


def _verdict(findings: Sequence[Finding]) -> tuple[str, str]:
    """How it stands, as a class of the page, and in one sentence."""
    counts = Counter(finding.severity for finding in findings)
    if counts[Severity.ERROR]:
        return (
            "error",
            f"Not ready: {_count(counts[Severity.ERROR], 'thing')} must be mended first.",
        )
    if counts[Severity.WARNING]:
        return "warning", f"Usable, and better without {_count(counts[Severity.WARNING], 'flaw')}."
    if counts[Severity.HINT]:
        return "hint", f"Ready, with {_count(counts[Severity.HINT], 'hint')}."
    return "fine", "Ready: nothing was found."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
