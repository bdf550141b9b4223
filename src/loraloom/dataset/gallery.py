"""Which pictures of a dataset are meant: by words, concept, findings, or one by one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from loraloom.dataset.snapshot import Contents, Picture
from loraloom.findings import Finding

PAGE = 60
"""Pictures on a page."""
NO_CAPTION = "no-caption"
"""Chosen as a finding: pictures without caption, whether they were checked or not."""

LONGEST_TAG = 60
"""Characters; what is longer is a sentence."""
_COMMAS = re.compile("[,，、]")

Findings = Mapping[str, Sequence[Finding]]
"""SHA-256 -> what the last check found in the picture."""


@dataclass(frozen=True)
class Query:
    """What the pictures have in common; empty parts do not count."""

    words: str = ""
    """In caption or file name, in any case; all of them."""
    concept: str = ""
    finding: str = ""
    """The code of a finding, or "no-caption"."""
    only: str = ""
    """The SHA-256 of one picture."""

    def __bool__(self) -> bool:
        return bool(self.words.strip() or self.concept or self.finding or self.only)


@dataclass(frozen=True)
class Page:
    """Some of the pictures that were found."""

    pictures: tuple[Picture, ...]
    total: int
    """All that were found."""
    next: str | None
    """The last picture of this page, if more come after it."""


@dataclass(frozen=True)
class Facets:
    """How many pictures there are of each sort."""

    concepts: Mapping[str, int]
    findings: Mapping[str, int]
    without_caption: int


def select(contents: Contents, query: Query, findings: Findings) -> list[Picture]:
    """The pictures meant, in the order of the dataset."""
    if not query:
        return list(contents.pictures)
    words = query.words.casefold().split()
    return [p for p in contents.pictures if _is_meant(p, query, words, findings)]


def page(
    contents: Contents, query: Query, findings: Findings, after: str = "", limit: int = PAGE
) -> Page:
    """The pictures that follow `after`; the first ones where it is not among them."""
    found = select(contents, query, findings)
    start = next((n for n, p in enumerate(found, 1) if p.sha256 == after), 0) if after else 0
    shown = tuple(found[start : start + limit])
    more = shown[-1].sha256 if start + limit < len(found) else None
    return Page(shown, len(found), more)


def neighbours(found: Sequence[Picture], sha256: str) -> tuple[Picture | None, Picture | None]:
    """The pictures before and after one."""
    place = next((n for n, picture in enumerate(found) if picture.sha256 == sha256), None)
    if place is None:
        return None, None
    return (
        found[place - 1] if place else None,
        found[place + 1] if place + 1 < len(found) else None,
    )


def facets(contents: Contents, findings: Findings) -> Facets:
    """What can be chosen from."""
    present = {picture.sha256 for picture in contents.pictures}
    codes: Counter[str] = Counter()
    for sha256, found in findings.items():
        if sha256 in present:
            codes.update({finding.code for finding in found})
    without = sum(not picture.caption for picture in contents.pictures)
    return Facets(contents.counts(), dict(codes.most_common()), without)


def frequent_tags(contents: Contents, most: int = 200) -> list[str]:
    """What stands between the commas of the captions, the most frequent first."""
    return _frequent(tuple(picture.caption for picture in contents.pictures), most)


@lru_cache(maxsize=8)
def _frequent(captions: tuple[str, ...], most: int) -> list[str]:
    """The same captions again cost nothing."""
    said: Counter[str] = Counter()
    for caption in captions:
        parts = (part.strip() for part in _COMMAS.split(caption))
        said.update({part for part in parts if 0 < len(part) <= LONGEST_TAG})
    return [tag for tag, _ in said.most_common(most)]


def _is_meant(picture: Picture, query: Query, words: Collection[str], findings: Findings) -> bool:
    if query.only and picture.sha256 != query.only:
        return False
    if query.concept and picture.concept != query.concept:
        return False
    if query.finding == NO_CAPTION and picture.caption:
        return False
    if query.finding not in ("", NO_CAPTION) and not any(
        finding.code == query.finding for finding in findings.get(picture.sha256, ())
    ):
        return False
    text = f"{picture.caption}\n{picture.name}".casefold()
    return all(word in text for word in words)
