"""The trigger: where it stands, how it was miswritten, and whether it is rare enough."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from functools import cache

from loraloom.captions import rules, vocabulary
from loraloom.captions.reading import Reading, read
from loraloom.captions.words import Word, numbered, split_words

_ALIKE = 0.74
_SHORTEST = 4

Tokens = Callable[[str], list[int]]
"""A text's token ids, without those of start and end."""


def variant(reading: Reading, trigger: str) -> tuple[int, int] | None:
    """Where a caption without the trigger writes something that was meant to be it."""
    words = split_words(reading.text, vocabulary.spelling())
    wanted = [word.text for word in split_words(trigger)]
    if not wanted or reading.trigger_at is not None:
        return None
    joined = _joined(trigger)
    for first in range(len(words)):
        for last in range(first + 1, min(first + len(wanted) + 2, len(words)) + 1):
            if _joined(reading.text[words[first].start : words[last - 1].end]) == joined:
                return words[first].start, words[last - 1].end
    return _misspelt(words, wanted)


def named_by_class(reading: Reading, trigger: str) -> int:
    """Where a caption without the trigger stops naming its class word first ("a woman"); else 0."""
    if reading.trigger_at is not None or not reading.phrases or not rare_part(trigger):
        return 0
    parts = [part for part in trigger.split() if not rare_part(part)]
    classes = [word.text for part in parts for word in split_words(part, vocabulary.spelling())]
    words = list(reading.phrases[0].words)
    while words and words[0].text in vocabulary.grammar_words("articles"):
        words.pop(0)
    named = [word.text for word in words[: len(classes)]]
    return words[len(classes) - 1].end if classes and named == classes else 0


def is_first(reading: Reading) -> bool:
    """Whether the trigger stands in the first phrase."""
    if reading.trigger_at is None or not reading.phrases:
        return False
    return reading.trigger_at < reading.phrases[0].end


def common_words(trigger: str, tokens: Tokens | None = None, vocabulary_size: int = 0) -> list[str]:
    """The words of a trigger that has no rare one; empty where it has.

    A word is common when it is in the vocabulary or the list of common words, or when the base's
    tokenizer has one frequent token for it.
    """
    words = [word for word in re.split(r"[\s,，]+", trigger.strip()) if word]
    common = [word for word in words if _is_common(word, tokens, vocabulary_size)]
    return common if words and len(common) == len(words) else []


def rare_part(trigger: str) -> list[str]:
    """The words of the trigger that name nothing else."""
    words = [word.casefold() for word in re.split(r"[\s,，]+", trigger.strip()) if word]
    return [word for word in words if not _is_common(word, None, 0)]


def used_elsewhere(trigger: str, captions: Iterable[str]) -> list[str]:
    """The rare words of the trigger that captions use apart from it as well."""
    rare = set(rare_part(trigger))
    found: set[str] = set()
    for text in captions:
        reading = read(text, trigger)
        if reading.trigger_at is not None:
            found |= rare & {word.text for phrase in reading.phrases for word in phrase.words}
    return sorted(found)


def _is_common(word: str, tokens: Tokens | None, vocabulary_size: int) -> bool:
    if "_" in word or any(char.isdigit() for char in word):
        return False
    key = vocabulary.key_of(word)
    if not key or _is_listed(key):
        return True
    limits = rules.limits()
    if tokens is None or vocabulary_size < limits.vocabulary_least:
        return False
    ids = tokens(word)
    return len(ids) == 1 and ids[0] < vocabulary_size * limits.rare_from_share


def _is_listed(key: vocabulary.Key) -> bool:
    lists = (
        vocabulary.index(),
        vocabulary.grammar_keys("common"),
        vocabulary.grammar_keys("people"),
        vocabulary.grammar_keys("subject"),
        vocabulary.word_list("colors"),
        vocabulary.word_list("materials"),
        vocabulary.word_list("ethnic"),
        vocabulary.word_list("ages"),
    )
    return any(key in keys or tuple(map(numbered, key)) in keys for keys in lists)


def _joined(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _misspelt(words: tuple[Word, ...], wanted: list[str]) -> tuple[int, int] | None:
    """A rare word of the trigger alone, or one written nearly so, near the beginning."""
    for rare in (word for word in wanted if len(word) > 1 and not _is_common(word, None, 0)):
        for number, word in enumerate(words):
            near = word.text == rare or (
                len(rare) >= _SHORTEST
                and word.text not in _known()
                and difflib.SequenceMatcher(None, word.text, rare).ratio() >= _ALIKE
            )
            if near:
                following = words[number + 1] if number + 1 < len(words) else None
                people = vocabulary.grammar_words("people")
                takes = following is not None and following.text in people | set(wanted)
                # "woman ohwx": the words of the trigger in another order.
                turned = number and not takes and words[number - 1].text in wanted
                start = words[number - 1].start if turned else word.start
                return start, (following.end if takes and following else word.end)
    return None


@cache
def _known() -> frozenset[str]:
    return frozenset(word for key in vocabulary.index() for word in key)
