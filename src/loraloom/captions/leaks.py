"""Words that the adapter should learn by itself and that stand in a caption all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from loraloom.captions import concept, rules, vocabulary
from loraloom.captions.reading import TRIGGER, Reading, has_key, longest_at
from loraloom.captions.spans import Span, heads_of, longest_from, siblings_of, spans_of
from loraloom.captions.vocabulary import Key
from loraloom.captions.words import forms
from loraloom.kinds import Kind

_LONGEST = 7


@dataclass(frozen=True, order=True)
class Leak:
    """Characters `start` to `end` of a caption tell a feature."""

    start: int
    end: int
    text: str
    title: str
    modifier: bool = False
    """A modifier whose head stays ("young" of "young woman")."""


def find(
    reading: Reading, kind: Kind, *, concept_words: str = "", trigger: str = "",
    hair_changes: bool = False,
) -> list[Leak]:  # fmt: skip
    """The leaks of one caption, in order, none overlapping.

    `hair_changes`: the set has several hairstyles, which are then said (its colour is not).
    """
    excluded = rules.of(kind).exclude
    found: list[Leak] = []
    for number, phrase in enumerate(reading.phrases):
        words = tuple(word.text for word in phrase.words)
        spans = list(spans_of(words, excluded, hair_changes))
        if kind is Kind.CONCEPT:
            spans += concept_spans(words, concept_words, trigger)
        spans = [span for span in spans if not _protected(span, reading, number, kind)]
        if kind is Kind.OBJECT:
            spans = [span for span in spans if _is_own(span, words, number)]
        if kind is Kind.STYLE and _shows_picture(words, spans):
            spans = []
        if kind is Kind.SCENE:
            spans = [span for span in spans if not _is_foreground(span, words)]
        merged = _merged(spans)
        merged = [_with_its_place(span, words, heads_of(excluded)) for span in merged]
        if kind in (Kind.CHARACTER, Kind.SCENE):
            merged = [_with_adjective(_with_trail(span, words), words) for span in merged]
        if merged and not merged[0].modifier and merged[0].first == 0 and number:
            found += _trailing(reading, number - 1, siblings_of(excluded))
        found += [_leak(span, reading, number) for span in merged]
    return found


def concept_spans(words: tuple[str, ...], concept_words: str, trigger: str) -> Iterator[Span]:
    """Where the target concept is told."""
    phrases, effect = concept.giveaways(concept_words, trigger)
    for first in range(len(words)):
        for last in range(min(first + _LONGEST, len(words)), first, -1):
            if has_key(words[first:last], phrases):
                while last < len(words) and words[last] in concept.GENERIC:
                    last += 1
                start = first
                if first and all(word in concept.lead_words() for word in words[:first]):
                    start = 0  # "two layered images"
                yield Span(start, last, "concept")
                break
    own = concept.content(concept_words)
    stems = [forms(word, verb=True) for word in words]
    places = [
        [at for at, stem in enumerate(stems) if stem == forms(name, verb=True)] for name in own
    ]
    if len(own) > 1 and all(places):
        told = [at for found in places for at in found]
        first = min(told)
        while first and (words[first - 1] in _articles() or words[first - 1].endswith("ing")):
            first -= 1  # "making a heart"
        yield Span(first, max(told) + 1, "concept")
    if effect and len(words) > 1 and has_key(words[-1:], concept.effect_heads()):
        yield Span(0 if words[0] != TRIGGER else 1, len(words), "concept")


def _trailing(reading: Reading, number: int, siblings: frozenset[Key]) -> list[Leak]:
    """The modifier that a comma parts from its head: "long" of "with long, dark hair"."""
    words = tuple(word.text for word in reading.phrases[number].words)
    count = longest_at(words, len(words), siblings)
    if not count or count == len(words) or words[-count - 1] not in _opening():
        return []
    return [_leak(Span(len(words) - count, len(words), "feature"), reading, number)]


def _with_trail(span: Span, words: tuple[str, ...]) -> Span:
    """With what the hair does: "hair falling over her shoulders"."""
    last = span.last
    if not span.modifier and words[last : last + 1] and words[last] in _trails():
        while last < len(words) and words[last] not in _clause_ends():
            last += 1
    return replace(span, last=last)


def _with_its_place(span: Span, words: tuple[str, ...], heads: frozenset[Key]) -> Span:
    """With the part that it is on: "a mole under her left eye", "a logo on the tongue"."""
    last = span.last
    if span.modifier or words[last : last + 1] == () or words[last] not in _placing():
        return span
    end = last + 1
    while end < len(words) and words[end] in _sides():
        end += 1
    part = longest_from(words, end, heads)
    return replace(span, last=end + len(part)) if part and end > last + 1 else span


@cache
def _placing() -> frozenset[str]:
    return vocabulary.grammar_words("placing")


@cache
def _sides() -> frozenset[str]:
    return _articles() | vocabulary.grammar_words("sides")


@cache
def _trails() -> frozenset[str]:
    return vocabulary.grammar_words("trails")


@cache
def _clause_ends() -> frozenset[str]:
    return vocabulary.grammar_words("conjunctions") | vocabulary.grammar_words("clothing_words")


def _with_adjective(span: Span, words: tuple[str, ...]) -> Span:
    """With the unknown adjective between an article and it: "a cozy" + "cafe"."""
    known = ("function", "people", "subject", "filler")
    if span.modifier or span.first < 2 or words[span.first - 2] not in _articles():
        return span
    before = words[span.first - 1]
    if before.endswith("ing") or any(before in vocabulary.grammar_words(n) for n in known):
        return span
    return replace(span, first=span.first - 1)


@cache
def _articles() -> frozenset[str]:
    return vocabulary.grammar_words("articles")


@cache
def _opening() -> frozenset[str]:
    return vocabulary.grammar_words("articles") | vocabulary.grammar_words("carriers") | {"and"}


def _protected(span: Span, reading: Reading, phrase: int, kind: Kind) -> bool:
    """Whether a longer term of the vocabulary covers it: "black hair ribbon", "rim lighting"."""
    for match in reading.matches:
        if match.phrase != phrase or any(match.says(name) for name in _weak(kind)):
            continue
        overlaps = match.reach < span.last and match.last > span.first
        # What describes a concept's word does not make another thing of it.
        length = match.last - match.first if kind is Kind.CONCEPT else match.length
        if overlaps and length > span.last - span.first:
            return True
    return False


def _weak(kind: Kind) -> tuple[str, ...]:
    """Categories whose terms are what the adapter learns, and so protect nothing."""
    if kind is Kind.SCENE:
        return ("place",)
    return ("clothing", "accessory") if kind is Kind.OBJECT else ()


def _is_own(span: Span, words: tuple[str, ...], phrase: int) -> bool:
    """Whether what is told is the object's own and not its surroundings'."""
    around = vocabulary.grammar_words("surrounding_heads") | vocabulary.grammar_words("trailers")
    beside = words[span.last - 1 : span.last + 1]
    if words[span.last - 1] in {"of", "from", "with", "in"}:  # "made of hand-blown glass"
        beside = ()
    if around & set(beside):
        return False
    if span.modifier and phrase > 1:
        return False  # another thing beside the object
    position, own = 0, True
    while position < span.first:
        count = len(longest_from(words, position, vocabulary.grammar_keys("surroundings")))
        if count and words[position : position + count] not in vocabulary.grammar_keys("own"):
            own = False
        elif words[position] == "its":
            own = True
        position += count or 1
    return own


def _shows_picture(words: tuple[str, ...], spans: list[Span]) -> bool:
    """Whether the phrase speaks of a picture inside the picture, apart from what tells a style."""
    shown = vocabulary.grammar_keys("shown")
    return any(
        longest_from(words, at, shown)
        for at in range(len(words))
        if not any(span.first <= at < span.last - 1 for span in spans)
    )


def _is_foreground(span: Span, words: tuple[str, ...]) -> bool:
    """ "a street musician": the place only says what kind of subject; "holding a lantern"."""
    if span.last < len(words) and words[span.last] in vocabulary.grammar_words("subject"):
        return True
    first, passed = span.first, vocabulary.grammar_words("articles") | {"著", "了"}
    while first and words[first - 1] in passed:
        first -= 1
    return first > 0 and words[first - 1] in vocabulary.grammar_words("handling")


def _merged(spans: list[Span]) -> list[Span]:
    """Overlapping spans as one; the title is that of the first."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.first, -s.last)):
        if found and span.first < found[-1].last:
            last = max(found[-1].last, span.last)
            modifier = found[-1].modifier and span.modifier
            found[-1] = Span(found[-1].first, last, found[-1].title, modifier)
        else:
            found.append(span)
    return found


def _leak(span: Span, reading: Reading, phrase: int) -> Leak:
    words = reading.phrases[phrase].words
    start, end = words[span.first].start, words[span.last - 1].end
    return Leak(start, end, reading.text[start:end], span.title, span.modifier)
