"""Take words out of a caption so that what is left still reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from loraloom.captions import vocabulary
from loraloom.captions.leaks import Leak
from loraloom.captions.reading import TRIGGER, read, uncovered
from loraloom.captions.vocabulary import Key
from loraloom.captions.words import CJK

_GAP = "\ufffc"
"""Stands where something was taken out."""
_EMPTY_BRACKETS = re.compile(r"[(\[{]\s*(?::[\d.]+)?\s*[)\]}]")


def remove(text: str, leaks: Sequence[Leak], trigger: str = "", *, people: bool = False) -> str:
    """`text` without the leaks, and without the articles and prepositions that led to them.

    `people`: a phrase that then only says "a woman" goes too, since the trigger says it.
    """
    for leak in sorted(leaks, reverse=True):
        gap = "" if leak.modifier else _gap_for(leak, text)
        text = text[: leak.start] + gap + text[leak.end :]
        if leak.modifier:
            text = _close(text, leak.start)
    if trigger:  # "a mystyle painting of a castle" -> "a mystyle, a castle"
        follows = re.compile(rf"({re.escape(trigger)})\s*{_GAP}\s*(?=an?\s)", re.IGNORECASE)
        text = follows.sub(r"\1, ", text)
    return tidy(_without_gaps(text), trigger, people=people)


def _gap_for(leak: Leak, text: str) -> str:
    """What stands for the leak: nothing, or "and" where it tied two things together."""
    last = leak.text.split()[-1].casefold()
    tied = bool(re.search(r"\w\s*$", text[: leak.start]))
    return "and" if tied and last in vocabulary.grammar_words("couplers") else _GAP


def remove_spans(text: str, spans: Iterable[tuple[int, int]], trigger: str = "") -> str:
    """`text` without single words that nothing depends on."""
    for start, end in sorted(spans, reverse=True):
        text = _close(text[:start] + text[end:], start)
    return tidy(text, trigger)


def tidy(text: str, trigger: str = "", *, people: bool = False) -> str:
    """`text` without empty brackets, doubled separators and phrases that say nothing."""
    text = _balanced(_EMPTY_BRACKETS.sub("", text))
    empty = _function() | (vocabulary.grammar_keys("people") if people else frozenset())
    for phrase in reversed(read(text, trigger).phrases):
        words = tuple(word.text for word in phrase.words)
        if TRIGGER not in words and not uncovered(words, empty):
            text = text[: phrase.words[0].start] + text[phrase.words[-1].end :]
    text = re.sub(r"(^|[，。、])\s*的", r"\1", text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,，、.。;；)])", r"\1", text)
    text = re.sub(r"([,，、;；])(?:\s*[,，、;；])+", r"\1", text)
    text = re.sub(r"[,，、;；]+\s*([.。])", r"\1", text)
    text = re.sub(r"([.。])\s*(?:[,，、;；.。]\s*)+(?!\.)", r"\1 ", text)
    return text.strip(" ,，、;；").lstrip(".。 ")


def _close(text: str, at: int) -> str:
    """Close the place where a modifier was: spaces, a stray "and", a or an."""
    head, tail = text[:at], text[at:]
    tail = re.sub(r"^\s*(?:,\s*|and\s+)?", "", tail) if head[-1:] in ("", " ") else tail
    if re.search(r"\b(?:a|an)\s$", head, re.IGNORECASE):
        head = re.sub(r"\b(a)n?\s$", lambda m: m.group(1) + _ending(tail) + " ", head, flags=re.I)
    return head + tail


def _ending(following: str) -> str:
    return "n" if following[:1].lower() in ("a", "e", "i", "o", "u") and following[:1] else ""


def _without_gaps(text: str) -> str:
    """Take each gap out with what only led to it."""
    previous = None
    while previous != text:
        previous = text
        for pattern, put in _patterns():
            text = pattern.sub(put, text)
    text = re.sub(rf"(?<=[{CJK}，、。]){_GAP}|{_GAP}(?=[{CJK}，、。])", "", text)
    return text.replace(_GAP, " ")


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What goes with a gap: articles and fillers, lists of gaps, conjunctions, prepositions."""
    lead = _either("articles", "filler")
    conjunction = _either("conjunctions")
    carrier = _either("carriers", "surroundings")
    start = rf"(?<![^\W{CJK}])"
    flags = re.IGNORECASE
    return (
        (re.compile(rf"{_GAP}\s*(?:{_either('trailers')})", flags), _GAP),
        (re.compile(rf"{start}(?:{lead})\s*{_GAP}", flags), _GAP),
        (re.compile(rf"{_GAP}\s*(?:,\s*)?(?:{conjunction})?\s*{_GAP}", flags), _GAP),
        (
            re.compile(rf"\s*(?:,\s*)?{start}(?:{conjunction})\s*{_GAP}(?=\s*[^\w\s]|\s*$)", flags),
            "",
        ),
        (re.compile(rf"{_GAP}\s*(?:{conjunction})(?![^\W{CJK}])\s*", flags), ""),
        (re.compile(rf"\s*{start}(?:{conjunction})\s*{_GAP}", flags), _GAP),
        (re.compile(rf"\s*{start}(?:{carrier})\s*{_GAP}", flags), _GAP),
        (re.compile(rf"{_GAP}\s*of(?=\s)", flags), ""),
        (re.compile(rf"^\s*{_GAP}\s*,?", flags), ""),
    )


def _either(*names: str) -> str:
    phrases = {
        phrase
        for language in vocabulary.LANGUAGES
        for name in names
        for phrase in vocabulary.grammar(language).lists[name]
        if len(phrase) > 1 or not phrase.isascii() or phrase == "a"
    }
    ordered = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    return "|".join(re.escape(phrase) for phrase in ordered)


@cache
def _function() -> frozenset[Key]:
    joins = ("function", "joins", "carriers", "conjunctions", "articles")
    return frozenset[Key]().union(*(vocabulary.grammar_keys(name) for name in joins))


def _balanced(text: str) -> str:
    """Brackets without a partner are dropped; escaped ones and smileys too."""
    open_at: list[int] = []
    lonely: set[int] = set()
    for at, char in enumerate(text):
        if char in "([":
            open_at.append(at)
        elif char in ")]":
            if open_at:
                open_at.pop()
            else:
                lonely.add(at)
    lonely |= set(open_at)
    return "".join(char for at, char in enumerate(text) if at not in lonely) if lonely else text
