"""Short ways to make the findings of an import."""

from __future__ import annotations

from loraloom.findings import Finding, Severity


def error(code: str, item: str, message: str, fix: str = "") -> Finding:
    """Something that is not stored as long as it is so."""
    return Finding(code, Severity.ERROR, item, message, None, None, fix)


def warning(code: str, item: str, message: str, fix: str = "") -> Finding:
    """Something that was stored otherwise than it was given, or left out."""
    return Finding(code, Severity.WARNING, item, message, None, None, fix)


def hint(code: str, item: str, message: str, fix: str = "") -> Finding:
    """Something good to know."""
    return Finding(code, Severity.HINT, item, message, None, None, fix)


def sentence(finding: Finding) -> str:
    """A finding in one line."""
    start = f"{finding.item}: " if finding.item else ""
    return f"{start}{finding.message}" + (f"; {finding.fix}" if finding.fix else "")
