"""One thing said in several forms over a set: "gray background" here, "grey background" there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from loraloom.captions import rules, vocabulary
from loraloom.captions.words import split_phrases


def mixed_forms(captions: Sequence[str]) -> list[tuple[tuple[str, ...], str]]:
    """The forms that stand for one thing, and the one to keep: the commonest, else the standard."""
    counts = Counter(tag for caption in captions for tag in set(_tags(caption)))
    found = []
    for group in _groups(counts):
        # The commonest; of equals the first of its group in rules.toml, or the standard.
        forms = sorted(group, key=lambda form: (-counts[form], form not in _standards()))
        found.append((tuple(forms), forms[0]))
    return found


def rename_form(caption: str, form: str, chosen: str) -> str:
    """The caption with the tag `form`, spelt just so, as `chosen`."""
    for phrase in reversed(split_phrases(caption)):
        start, end = phrase.words[0].start, phrase.words[-1].end
        if form != chosen and _plain(caption[start:end]) == form:
            caption = caption[:start] + chosen + caption[end:]
    return caption


def _groups(counts: Counter[str]) -> list[list[str]]:
    """Spellings of one term, and terms that rules.toml counts as one; only where several stand."""
    by_key: dict[object, list[str]] = {}
    for tag in counts:
        key = vocabulary.key_of(tag)
        terms = vocabulary.index().get(key, ())
        if terms:
            # One term, or two forms of one: "natural light" is "natural lighting".
            same = terms[0].role in ("standard", "same")
            by_key.setdefault(terms[0].standard if same else key, []).append(tag)
    named = [[term for term in group if term in counts] for group in rules.same_terms()]
    return [group for group in [*by_key.values(), *named] if len(group) > 1]


@cache
def _standards() -> frozenset[str]:
    return frozenset(term.standard for terms in vocabulary.index().values() for term in terms)


def _tags(caption: str) -> list[str]:
    return [
        _plain(caption[phrase.words[0].start : phrase.words[-1].end])
        for phrase in split_phrases(caption)
    ]


def _plain(tag: str) -> str:
    return re.sub(r"[_\s]+", " ", tag.casefold())
