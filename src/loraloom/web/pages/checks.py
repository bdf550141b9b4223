"""What should be known of a dataset before it is trained on, and what mends it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from loraloom import families, settings
from loraloom.captions import bulk
from loraloom.dataset.readiness.stored import Report
from loraloom.dataset.snapshot import Contents, Picture
from loraloom.errors import CaptionEditInvalid, DatasetUnknown
from loraloom.findings import Finding, Severity
from loraloom.kinds import Kind, clips, info
from loraloom.studio.bases import refuse_folder
from loraloom.studio.checks import Aim
from loraloom.web.api.datasets import Text
from loraloom.web.bench import BenchNow, DatasetNow
from loraloom.web.pages.datasets import url
from loraloom.web.pages.gallery import common
from loraloom.web.pages.preferences import own
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.texts import translate_plural
from loraloom.web.who import PersonNow

router = APIRouter(prefix="/datasets/{dataset}")
ShaOfForm = Annotated[str, Form(pattern="^[0-9a-f]{64}$")]
SHOWN = 12
LONGEST_WAY = 60_000
"""Characters of the address to go back to; a server takes 64 KiB of one."""
MENDED_BY_WORDS = frozenset(
    ("trigger-missing", "trigger-inconsistent", "identity-leak", "style-leak", "object-leak",
     "concept-leak", "scene-leak", "vocabulary", "too-long", "truncated")
)  # fmt: skip
"""What a fix of the captions takes away."""
OF_TRIGGERS = frozenset(("trigger-missing", "trigger-inconsistent"))
"""Of these, what is mended needs a trigger that somebody has said."""
COMPLETED = frozenset(("incomplete", "too-brief"))
"""What only assumed words take away, which are looked at before they are written."""
TAKEN_OUT = frozenset(("near-duplicate", "unreadable", "blur", "exposure", "faces"))
"""Where taking the pictures out is one way to mend it."""


@dataclass(frozen=True)
class Group:
    """All findings of one sort."""

    code: str
    findings: tuple[Finding, ...]
    shas: Mapping[str, str]

    @property
    def severity(self) -> Severity:
        """The worst of them."""
        return min((f.severity for f in self.findings), key=list(Severity).index)

    @property
    def shown(self) -> list[tuple[Finding, str]]:
        """The first of them, each with its picture, if it is about one."""
        return [(one, self.shas.get(one.item, "")) for one in self.findings[:SHOWN]]

    @property
    def fixes(self) -> list[str]:
        """What to do; one sentence where it is the same for all."""
        return list(dict.fromkeys(finding.fix for finding in self.findings))

    @property
    def pictures(self) -> list[str]:
        """Those that it is about."""
        found = (self.shas.get(finding.item, "") for finding in self.findings)
        return list(dict.fromkeys(filter(None, found)))


def groups(report: Report, present: Collection[str]) -> list[Group]:
    """The findings by their codes, the gravest first, but of pictures that are gone."""
    found: dict[str, list[Finding]] = {}
    for finding in report.findings:
        sha256 = report.shas.get(finding.item)
        if sha256 is None or sha256 in present:
            found.setdefault(finding.code, []).append(finding)
    return [Group(code, tuple(own), report.shas) for code, own in found.items()]


@dataclass(frozen=True)
class Pair:
    """Two pictures that look like copies: the one that would be kept is on the left."""

    left: Picture
    right: Picture
    difference: float | None
    mirrored: bool


def pairs(report: Report, present: Mapping[str, Picture]) -> list[Pair]:
    """Those of which both are there still."""
    return [
        Pair(present[one.kept], present[one.copy], one.difference, one.mirrored)
        for one in report.copies
        if one.kept in present and one.copy in present
    ]


def mended_by_words(contents: Contents) -> frozenset[str]:
    """The codes of what a fix of the captions takes away: a guessed trigger is written nowhere."""
    said = any(concept.trigger for concept in contents.concepts)
    return MENDED_BY_WORDS if said else MENDED_BY_WORDS - OF_TRIGGERS


@router.get("/checks")
def show(
    request: Request, bench: BenchNow, stored: DatasetNow, kind: Kind | None = None, base: Text = ""
) -> Response:
    """The last check, or one that is under way."""
    known = bench.checks.aim(stored)
    aim = Aim(kind or known.kind, base or known.base)
    contents = stored.working
    report = bench.checks.report(stored, aim)
    present = {picture.sha256: picture for picture in contents.pictures}
    found = groups(report, present) if report else []
    told = {group.code for group in found}
    moving = 2 * sum(picture.is_clip for picture in contents.pictures) > len(contents.pictures)
    return page(
        request,
        "datasets/checks.html",
        **{**common(bench, stored, contents, "checks"), "aim": aim, "report": report},
        running=bench.checks.running(stored, aim),
        groups=found,
        pairs=pairs(report, present)[:SHOWN] if report else [],
        fine=[code for code in report.looked_for if code not in told] if report else [],
        fresh=report is not None and report.contents == contents.hash,
        kinds={one: info(one) for one in Kind},
        wanted=clips() if moving else info(aim.kind),
        moving=moving,
        bases=bases(),
        words=mended_by_words(contents),
        of_triggers=OF_TRIGGERS,
        completed=COMPLETED,
        removable=TAKEN_OUT,
        last_edit=stored.last_edit if stored.can_undo else "",
    )


def bases() -> dict[str, str]:
    """What a dataset can be for: installed bases, then families by their ids."""
    found = {name: name for name in settings.base_folders()}
    return {one.id: one.title for one in families.all_infos()} | found


@router.post("/checks")
def check(
    bench: BenchNow,
    person: PersonNow,
    stored: DatasetNow,
    kind: Annotated[Kind, Form()],
    base: Annotated[str, Form(max_length=500)],
    then: Annotated[str, Form(max_length=LONGEST_WAY)] = "",
) -> Response:
    """Begin a check; what the dataset is for is remembered."""
    refuse_folder(person, base.strip())
    aim = Aim(kind, base.strip())
    bench.checks.set_aim(stored, aim)
    bench.checks.start(stored, aim)
    return back(own(then or f"{url(stored.name)}/checks"))


@router.post("/checks/words")
def mend_words(
    bench: BenchNow,
    stored: DatasetNow,
    sha: Annotated[list[str], Form(max_length=100_000)],
    then: Annotated[str, Form(max_length=LONGEST_WAY)] = "",
) -> Response:
    """Mend the captions of some pictures as far as their own words go, and check again."""
    aim = bench.checks.aim(stored)
    found = bulk.fixes(stored.working, aim.kind, aim.base, only=frozenset(sha))
    count = bulk.write(stored, found, "mended captions")
    if count:
        bench.checks.start(stored, aim)
        told = translate_plural("%(num)s caption mended.", "%(num)s captions mended.", count)
    else:
        told = _("Nothing of it can be mended by its own words: write it anew.")
    return back(own(then or f"{url(stored.name)}/checks"), told % {"num": count})


@router.post("/checks/pair")
def settle_pair(
    bench: BenchNow,
    stored: DatasetNow,
    left: ShaOfForm,
    right: ShaOfForm,
    keep: Annotated[Literal["left", "right", "both"], Form()],
) -> Response:
    """Keep one of two copies, and check again; or both, which is remembered."""
    try:
        if keep == "both":
            stored.keep_both(left, right)
            told = _("Both are kept, and are not told as copies any more.")
        else:
            stored.keep_one(*((left, right) if keep == "left" else (right, left)))
            bench.checks.start(stored, bench.checks.aim(stored))
            told = _("One is kept, the other taken out.")
    except DatasetUnknown:
        told = _("The pair was settled meanwhile; nothing was changed.")
    return back(f"{url(stored.name)}/checks#near-duplicate", told)


@router.post("/checks/take-out")
def take_out(
    bench: BenchNow, stored: DatasetNow, sha: Annotated[list[str], Form(max_length=100_000)]
) -> Response:
    """Take the pictures of a finding out, and check again."""
    present = {picture.sha256 for picture in stored.working.pictures}
    chosen = present & set(sha)
    if not chosen:
        raise CaptionEditInvalid(_("These pictures are not in the dataset any more."))
    stored.discard(chosen)
    bench.checks.start(stored, bench.checks.aim(stored))
    told = translate_plural("%(num)s picture taken out.", "%(num)s pictures taken out.",
                            len(chosen))  # fmt: skip
    return back(f"{url(stored.name)}/checks", told % {"num": len(chosen)})
