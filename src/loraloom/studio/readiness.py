"""What the last check of a stored dataset tells of a run that would learn from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from loraloom.dataset import reference
from loraloom.dataset.readiness.stored import Report, last_report
from loraloom.errors import LoraloomError
from loraloom.findings import Finding, Severity
from loraloom.kinds import Kind

TOLD_BY_ITSELF = frozenset(("caption-missing",))
"""Errors that a start names whether there was a check or not."""


class Standing(StrEnum):
    """Which state of the dataset was checked last, for this kind and base."""

    UNCHECKED = "unchecked"
    """None."""
    OLDER = "older"
    """Another one than would be trained on."""
    FRESH = "fresh"
    """The one that would be trained on."""


@dataclass(frozen=True)
class Group:
    """All findings of one sort."""

    code: str
    severity: Severity
    """The worst of them."""
    count: int


@dataclass(frozen=True)
class Readiness:
    """The last check of one stored dataset that a run names."""

    dataset: str
    kind: Kind
    base: str
    standing: Standing
    is_now: bool
    """Whether what would be trained on is the dataset as it is now, which a check looks at."""
    report: Report | None

    @property
    def groups(self) -> list[Group]:
        """What was found, the gravest first."""
        found: dict[str, list[Finding]] = {}
        for finding in self.report.findings if self.report else ():
            found.setdefault(finding.code, []).append(finding)
        order = list(Severity)
        made = [
            Group(code, min((f.severity for f in own), key=order.index), len(own))
            for code, own in found.items()
        ]
        return sorted(made, key=lambda group: order.index(group.severity))

    @property
    def errors(self) -> list[Finding]:
        """What must be mended before it is trained on; an older check cannot know."""
        if self.report is None or self.standing is not Standing.FRESH:
            return []
        errors = (f for f in self.report.findings if f.severity is Severity.ERROR)
        return [finding for finding in errors if finding.code not in TOLD_BY_ITSELF]


def look(triggers: Mapping[str, str], kind: Kind, base: str, family: str) -> Iterator[Readiness]:
    """For each stored dataset or version; those that cannot be read are left out.

    A check for the base itself counts, or one for its family. `triggers`: folder -> the run's.
    """
    for folder, trigger in triggers.items():
        try:
            if reference.is_stored(folder):
                yield _of(folder, trigger, kind, base, family)
        except LoraloomError:  # which the draft tells
            continue


def _of(folder: str, trigger: str, kind: Kind, base: str, family: str) -> Readiness:
    stored, contents = reference.open_contents(folder)
    reports = [last_report(stored, kind, name) for name in dict.fromkeys((base, family))]
    known = [report for report in reports if report is not None]
    fresh = next((report for report in known if report.contents == contents.hash), None)
    report = fresh or next(iter(known), None)
    other = Standing.OLDER if report else Standing.UNCHECKED
    standing = Standing.FRESH if fresh else other
    is_now = contents.hash == stored.working.hash
    own = bool(trigger) and trigger not in {concept.trigger for concept in contents.concepts}
    report = report and _without_idle(report, own)
    return Readiness(stored.name, kind, report.base if report else base, standing, is_now, report)


def _without_idle(report: Report, own: bool) -> Report:
    """Less what is about a trigger in place of which the run has its `own`, and that some captions
    lack theirs: training puts it first."""
    findings = tuple(
        one
        for one in report.findings
        if one.code != "trigger-inconsistent" or (one.item and not own)
    )
    return replace(report, findings=findings)
