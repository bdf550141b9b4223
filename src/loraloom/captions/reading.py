"""One caption read: its phrases, where the trigger stands, and the vocabulary found in it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache

from loraloom.captions import vocabulary
from loraloom.captions.vocabulary import VERBS, Key, Term
from loraloom.captions.words import Phrase, Word, forms, is_chinese, numbered, split_phrases

TRIGGER = "\0"
"""What stands for the trigger among the words."""
_LONGEST = 7
_MODIFIERS = ("colors", "materials", "shapes", "finishes", "shades", "sizes")


@dataclass(frozen=True)
class Match:
    """A term found in a phrase: words `first` to `last` (exclusive) of it."""

    terms: tuple[Term, ...]
    phrase: int
    first: int
    last: int
    reach: int
    """Where the term begins with the colours and materials before it."""

    @property
    def length(self) -> int:
        return self.last - self.reach

    def says(self, category: str) -> bool:
        return any(term.category == category for term in self.terms)


@dataclass(frozen=True)
class Reading:
    """A caption and what was found in it."""

    text: str
    phrases: tuple[Phrase, ...]
    trigger_at: int | None
    """Where in the text the trigger begins."""

    @property
    def language(self) -> str:
        """The language that it is written in."""
        return "zh-TW" if is_chinese(self._without_trigger) else "en"

    @cached_property
    def matches(self) -> tuple[Match, ...]:
        """The terms found, longest first in each phrase, none overlapping."""
        found: list[Match] = []
        for number, phrase in enumerate(self.phrases):
            found += _matches(phrase.words, number)
        return tuple(found)

    @cached_property
    def standards(self) -> frozenset[str]:
        """The standard terms that it says."""
        return frozenset(term.standard for match in self.matches for term in match.terms)

    def says(self, category: str) -> bool:
        """Whether it tells a category; "background" is any of the background's categories."""
        names = _background_categories() if category == "background" else {category}
        return any(term.category in names for match in self.matches for term in match.terms)

    def content(self, phrase: Phrase, *, people: bool = False) -> list[str]:
        """The phrase's words less trigger, grammar and (without `people`) who it is."""
        words = tuple(word.text for word in phrase.words)
        passed = vocabulary.grammar_keys("function")
        if not people:
            passed |= vocabulary.grammar_keys("people")
        return [words[at] for at in uncovered(words, passed) if words[at] != TRIGGER]

    def source(self, phrase: int, first: int, last: int) -> str:
        """The words `first` to `last` of a phrase as they are written."""
        words = self.phrases[phrase].words
        return self.text[words[first].start : words[last - 1].end]

    def is_sentence(self, phrase: Phrase) -> bool:
        """Whether the phrase reads as part of a sentence rather than as a tag."""
        words = [word.text for word in phrase.words if word.text != TRIGGER]
        return len(words) > 4 or bool(set(words) & vocabulary.grammar_words("sentence"))

    @property
    def _without_trigger(self) -> str:
        passed = [word for p in self.phrases for word in p.words if word.text == TRIGGER]
        text = self.text
        for word in reversed(passed):
            text = text[: word.start] + text[word.end :]
        return text


@lru_cache(maxsize=4096)
def read(text: str, trigger: str = "") -> Reading:
    """Read one caption; `trigger` is found without regard to case."""
    spans = trigger_spans(text, trigger)
    phrases = split_phrases(text, vocabulary.spelling())
    masked = tuple(replace(phrase, words=_masked(phrase.words, spans)) for phrase in phrases)
    return Reading(text, masked, spans[0][0] if spans else None)


def trigger_spans(text: str, trigger: str) -> list[tuple[int, int]]:
    """Where the trigger stands in the text."""
    if not trigger.strip():
        return []
    # Chinese needs no space after the trigger.
    pattern = rf"(?<![A-Za-z0-9_]){re.escape(trigger.strip())}(?![A-Za-z0-9_])"
    return [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)]


def longest_at(words: tuple[str, ...], end: int, keys: Collection[Key]) -> int:
    """How many words before `end` make the longest of `keys`; 0 where none does."""
    for count in range(min(_LONGEST, end), 0, -1):
        if has_key(words[end - count : end], keys):
            return count
    return 0


def uncovered(words: tuple[str, ...], keys: Collection[Key]) -> list[int]:
    """The positions of the words that none of `keys` covers, read from left to right."""
    found, at = [], 0
    while at < len(words):
        lengths = range(min(_LONGEST, len(words) - at), 0, -1)
        count = next((n for n in lengths if words[at : at + n] in keys), 0)
        found += [] if count else [at]
        at += count or 1
    return found


def has_key(words: tuple[str, ...], keys: Collection[Key]) -> bool:
    """Whether the words are one of `keys`, in any number and with any figures."""
    return any(key in keys for key in _variants(words))


@lru_cache(maxsize=65536)
def _variants(words: tuple[str, ...]) -> tuple[Key, ...]:
    """The words as they are, with any figures as #, and with the last in the singular."""
    ways = [words, tuple(map(_numbered, words)), (*words[:-1], forms(words[-1]))]
    return tuple(dict.fromkeys(ways))


def _numbered(word: str) -> str:
    return "#" if word in vocabulary.grammar_words("numbers") else numbered(word)


def _masked(words: tuple[Word, ...], spans: list[tuple[int, int]]) -> tuple[Word, ...]:
    """The words with those of the trigger as one."""
    found: list[Word] = []
    for word in words:
        span = next((s for s in spans if s[0] <= word.start < s[1]), None)
        if span is None:
            found.append(word)
        elif not found or found[-1].end != span[1]:
            found.append(Word(TRIGGER, *span))
    return tuple(found)


def _matches(words: tuple[Word, ...], phrase: int) -> list[Match]:
    texts = tuple(word.text for word in words)
    candidates = [
        Match(terms, phrase, first, last, _reach(texts, first, terms))
        for first in range(len(texts))
        for last in range(first + 1, min(first + _LONGEST, len(texts)) + 1)
        if (terms := _lookup(texts[first:last]))
    ]
    candidates += _by_last_character(texts, phrase)
    taken: list[Match] = []
    for match in sorted(candidates, key=lambda m: (-m.length, -(m.last - m.first), m.first)):
        if all(match.last <= other.first or match.first >= other.last for other in taken):
            taken.append(match)
    return sorted(taken, key=lambda match: match.first)


def _lookup(key: Key) -> tuple[Term, ...]:
    """The terms that these words say: as they are, in another number, or in another verb form."""
    index = vocabulary.index()
    if key in index:
        return index[key]
    singular = (*key[:-1], forms(key[-1]))
    if singular in index:
        return index[singular]
    stem = tuple(forms(word, verb=True) for word in key)
    return _verb_index().get(stem) or (_by_ending(key[0]) if len(key) == 1 else ())


def _by_last_character(texts: tuple[str, ...], phrase: int) -> list[Match]:
    """A Chinese phrase tells a place or a garment by its last character."""
    if len(texts) < 2 or not is_chinese(texts[-2] + texts[-1]):
        return []
    end = len(texts)
    terms = tuple(
        Term(category.name, texts[-1], "also")
        for category in vocabulary.categories("zh-TW").values()
        if texts[-1] in category.endings
    )
    return [Match(terms, phrase, end - 1, end, end - 1)] if terms else []


@cache
def _by_ending(word: str) -> tuple[Term, ...]:
    """What a compound tells by its last part: "floodlights"."""
    return tuple(
        Term(category.name, word, "also")
        for language in vocabulary.LANGUAGES
        for category in vocabulary.categories(language).values()
        if any(word.endswith(end) and len(word) > len(end) + 1 for end in category.endings)
    )


@cache
def _verb_index() -> dict[Key, tuple[Term, ...]]:
    """Stems of the terms that are verbs."""
    found: dict[Key, tuple[Term, ...]] = {}
    for key, terms in vocabulary.index().items():
        # Another form of a verb is no synonym: "waves" may be the sea's.
        verbs = tuple(replace(term, role="also") for term in terms if term.category in VERBS)
        if verbs and key[0].endswith("ing"):
            found.setdefault(tuple(forms(word, verb=True) for word in key), verbs)
    return found


def _reach(words: tuple[str, ...], first: int, terms: tuple[Term, ...]) -> int:
    """Where the colours and materials before a garment or a place begin."""
    if any(term.category in VERBS or term.category == "camera" for term in terms):
        return first
    while count := longest_at(words, first, _modifiers()):
        first -= count
    return first


@cache
def _modifiers() -> frozenset[Key]:
    return frozenset[Key]().union(*(vocabulary.word_list(name) for name in _MODIFIERS))


@cache
def _background_categories() -> set[str]:
    found = (vocabulary.categories(language) for language in vocabulary.LANGUAGES)
    return {c.name for table in found for c in table.values() if c.background}
