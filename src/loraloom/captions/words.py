"""A caption as words and phrases, each with its place in the text.

Chinese is written without spaces: each of its characters counts as one word, so that the same
matching serves both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

CJK = "\u3400-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W_{CJK}]"
_WORD = re.compile(rf"[{CJK}]|#?{_LETTER}+(?:['’/]{_LETTER}+|\.(?=\d)\d+)*|#")
# A stop ends a phrase, but not inside a number such as 1.2.
_BREAK = re.compile(r"[,，、;；。!！?？\n|…]+|\.(?!\d)+")
_WEIGHT = re.compile(r":\s*[\d.]+\s*(?=[)\]])")
_LORA_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Word:
    """One word: as compared (lower case, one spelling), and where it stands."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Phrase:
    """What stands between two commas or stops."""

    words: tuple[Word, ...]
    start: int
    end: int


def split_words(text: str, spelling: Mapping[str, str] | None = None) -> tuple[Word, ...]:
    """The words of `text` in lower case and American spelling; weights and <tags> are passed."""
    for passed in (_WEIGHT, _LORA_TAG):
        text = passed.sub(lambda match: " " * len(match.group()), text)
    return tuple(
        Word(_plain(match.group(), spelling or {}), match.start(), match.end())
        for match in _WORD.finditer(text)
    )


def split_phrases(text: str, spelling: Mapping[str, str] | None = None) -> list[Phrase]:
    """The phrases of `text` that hold a word, in order."""
    words = split_words(text, spelling)
    return [
        Phrase(tuple(word for word in words if start <= word.start < end), start, end)
        for start, end in _pieces(text)
        if any(start <= word.start < end for word in words)
    ]


def is_chinese(text: str) -> bool:
    """Whether the text is written in Chinese, a trigger in Latin letters aside."""
    han = len(re.findall(rf"[{CJK}]", text))
    latin = len(re.findall(rf"{_LETTER}+", text))
    return han >= 2 and han >= latin


def forms(word: str, *, verb: bool = False) -> str:
    """The word without its ending: plural, and for verbs -ing, -ed, -s and a doubled letter."""
    if len(word) > 3 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    return _verb_stem(word) if verb else word


def numbered(word: str) -> str:
    """The word with its digits as one `#`: "25" -> "#", "20s" -> "#s"."""
    return word if word.isalpha() else re.sub(r"\d+", "#", word)


def _verb_stem(word: str) -> str:
    for ending in ("ing", "ed"):
        if len(word) > len(ending) + 2 and word.endswith(ending):
            word = word[: -len(ending)]
            if word[-1] == word[-2]:
                word = word[:-1]
            break
    return word.removesuffix("e")


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _BREAK.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _plain(word: str, spelling: Mapping[str, str]) -> str:
    word = word.casefold().replace("’", "'").removesuffix("'s")
    for other, own in spelling.items():
        word = word.replace(other, own)
    return word
