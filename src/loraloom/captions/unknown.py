"""What a caption says in words that no list has: it may be the very thing that seems missing."""

from __future__ import annotations

from collections.abc import Sequence

from loraloom.captions import vocabulary
from loraloom.captions.leaks import Leak
from loraloom.captions.reading import TRIGGER, Reading
from loraloom.captions.words import Phrase

OPEN = ("expression", "clothing", "background")
"""Categories that no list can hold whole; lists hold eye directions and lights nearly so."""


def may_be(reading: Reading, missing: Sequence[str], leaks: Sequence[Leak]) -> set[str]:
    """Those of the `missing` categories that unknown words may tell, one thing by each."""
    found: set[str] = set()
    guesses = [
        _guess(reading, number)
        for number, phrase in enumerate(reading.phrases)
        if not _leaks(phrase, leaks)
    ]
    for guess in sorted(filter(None, guesses), key=len):
        category = next((name for name in missing if name in guess and name not in found), "")
        found |= {category} - {""}
    return found


def _guess(reading: Reading, number: int) -> frozenset[str]:
    """The categories that a phrase may tell by what is unknown in it."""
    phrase = reading.phrases[number]
    known = {
        at for m in reading.matches if m.phrase == number for at in range(m.reach, m.last)
    }  # fmt: skip
    words = [word.text for word in phrase.words]
    if not known and not reading.is_sentence(phrase):
        return _of_tag(reading.content(phrase), chinese=reading.language == "zh-TW")
    return frozenset(
        category
        for category, openers in (("background", _list("whereabouts")), ("clothing", _list("worn")))
        for at, word in enumerate(words)
        if word in openers and _something_unknown(words, at + 1, known)
    )


def _of_tag(content: list[str], *, chinese: bool) -> frozenset[str]:
    """A tag of which nothing is known: one word may be a mood, several name a thing."""
    if not content:
        return frozenset()
    if chinese:
        return frozenset({"clothing", "background"})
    if len(content) == 1:
        return frozenset(OPEN)
    return frozenset() if content[0].endswith("ing") else frozenset({"clothing", "background"})


def _something_unknown(words: list[str], start: int, known: set[int]) -> bool:
    """Whether the words from `start` to the next function word end in one that is unknown."""
    passed = _list("articles") | _list("filler")
    end = start
    while end < len(words) and (words[end] in passed or words[end] not in _list("function")):
        end += 1
    last = end - 1
    return last >= start and last not in known and words[last] not in {TRIGGER, *passed}


def _leaks(phrase: Phrase, leaks: Sequence[Leak]) -> bool:
    return any(leak.start < phrase.end and leak.end > phrase.start for leak in leaks)


def _list(name: str) -> frozenset[str]:
    return vocabulary.grammar_words(name)
