"""What captions say of shot, background and clothing, by the vocabulary of captions/."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache

from loraloom.captions import stats, vocabulary
from loraloom.captions.reading import read

SIMPLE, PLACE = "simple_background", "place"


def phrases_in(caption: str, phrases: Collection[str]) -> list[str]:
    """Those of `phrases` that the caption has as whole words, longer ones first and alone."""
    return _matcher(frozenset(phrases)).findall(caption.casefold())


def with_terms(caption: str, trigger: str = "") -> str:
    """The caption, followed by the English standard terms for what it says."""
    said = [_english(term) for term in _terms(caption, trigger)]
    return ", ".join([caption, *dict.fromkeys(said)])


def background(caption: str, trigger: str = "") -> tuple[str, bool] | None:
    """The background that a caption names, and whether it is a simple one."""
    said = _terms(caption, trigger)
    for category in (SIMPLE, PLACE):
        names = [_english(term) for term in said if term.category == category]
        if names:
            return names[0], category == SIMPLE
    return None


def outfits(captions: Sequence[str], trigger: str = "") -> Counter[str]:
    """Outfit -> captions that name just it."""
    return stats.outfits(captions, trigger)


def _terms(caption: str, trigger: str) -> list[vocabulary.Term]:
    return [match.terms[0] for match in read(caption, trigger).matches if match.terms]


@cache
def _english(term: vocabulary.Term) -> str:
    for language in vocabulary.LANGUAGES:
        category = vocabulary.categories(language).get(term.category)
        if category and term.standard in category.english:
            return category.english[term.standard]
    return term.standard


@cache
def _matcher(phrases: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted((p.casefold() for p in phrases), key=lambda p: (-len(p), p))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
