"""The table of captions, right and wrong, that the tests of the captions room share."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from loraloom.captions.lint import Captioned, Check, lint
from loraloom.findings import Finding
from loraloom.kinds import Kind

LEAKS = {f"{name}-leak" for name in ("identity", "style", "object", "concept", "scene")}


@dataclass(frozen=True)
class Row:
    """One caption of the table."""

    text: str
    check: Check
    codes: frozenset[str] = frozenset()


def _rows(name: str) -> list[Row]:
    path = Path(__file__).parent / "data" / "captions.toml"
    found = []
    for group in tomllib.loads(path.read_text(encoding="utf-8"))[name]:
        check = Check(Kind(group["kind"]), group["trigger"], group.get("concept", ""))
        for caption in group["captions"]:
            plain = isinstance(caption, str)
            text, codes = (caption, []) if plain else (caption["text"], caption["codes"])
            found.append(Row(text, check, frozenset(codes)))
    return found


RIGHT = _rows("right")
WRONG = _rows("wrong")


def findings(text: str | None, check: Check) -> list[Finding]:
    """What the lint finds in one caption."""
    return lint([Captioned("01.png", text)], check)


def codes(text: str | None, check: Check) -> set[str]:
    return {finding.code for finding in findings(text, check)}
