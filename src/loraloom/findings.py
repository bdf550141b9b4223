"""What a check found: a code that stays, how much it matters, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Blocks training."""
    WARNING = "warning"
    """The adapter will suffer."""
    HINT = "hint"
    """Worth a look."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    code: str
    """A stable name for programs: "near-duplicate"."""
    severity: Severity
    item: str
    """The file it is about; empty where it is about the whole set."""
    message: str
    """What was found, in one sentence."""
    value: float | str | None
    """What was measured or read."""
    threshold: float | str | None
    """What would have been right."""
    fix: str
    """What to do."""


def blocks_training(findings: Iterable[Finding]) -> bool:
    """Whether any of them must be mended first."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def as_json(findings: Iterable[Finding]) -> dict[str, object]:
    """What `--json` prints."""
    return {"findings": [asdict(finding) for finding in findings]}
