"""The caption in what a model answered, without what models put around it."""

from __future__ import annotations

import re
from functools import cache

from loraloom.captions.auto import prompts
from loraloom.captions.auto.answer import Answer, Failure
from loraloom.captions.words import is_chinese
from loraloom.dataset.caption_file import clean_caption
from loraloom.errors import CaptionUnreadable

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^```[\w-]*\n?|```$", re.MULTILINE)
_MARKS = re.compile(r"\*\*|^#+\s*|^\s*[-*•]\s+", re.MULTILINE)
_QUOTES = "\"'“”‘’「」『』`"
_SENTENCES = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_NUMBERED = re.compile(r"^\W*(\d{1,3})\s*[:：.)]\s*(.+)$")


def caption_in(text: str) -> Answer | Failure:
    """The caption that one answer holds, or why it holds none."""
    text = "".join(char for char in _plain(text) if char.isprintable() or char.isspace())
    lines = [line for line in (_without_label(line) for line in text.splitlines()) if line]
    text = _without_opening(" ".join(lines)).strip(_QUOTES + " ")
    if _begins(text, prompts.polish().refusals):
        return Failure(f"the model refused: {text[:120]}")
    try:
        text = clean_caption(_without_asides(text), "the answer").text
    except CaptionUnreadable as error:
        return Failure(str(error))
    return Answer(text=text) if text else Failure("the model answered nothing")


def captions_in(text: str, count: int) -> dict[int, Answer | Failure]:
    """The captions of an answer with a line a picture, by number from 0; some may be missing."""
    found: dict[int, Answer | Failure] = {}
    for line in _plain(text).splitlines():
        match = _NUMBERED.match(line.strip())
        if match and 1 <= int(match[1]) <= count:
            found.setdefault(int(match[1]) - 1, caption_in(match[2]))
    return found


def _plain(text: str) -> str:
    """Without thoughts, code fences and Markdown's signs."""
    return _MARKS.sub("", _FENCE.sub("", _THOUGHT.sub("", text).strip()))


def _without_label(line: str) -> str:
    return _labels().sub("", line.strip().strip(_QUOTES)).strip().strip(_QUOTES)


def _without_opening(text: str) -> str:
    """ "The image shows a cat" is "a cat"."""
    return _openings().sub("", text, count=1).strip()


def _without_asides(text: str) -> str:
    """Without "The overall mood is calm."."""
    sentences = _SENTENCES.split(text)
    told = [words for words in sentences if not _begins(words, prompts.polish().asides)]
    if not told or len(told) == len(sentences):
        return text
    return ("" if is_chinese(text) else " ").join(told)


def _begins(text: str, words: tuple[str, ...]) -> bool:
    return text.casefold().replace("’", "'").startswith(words)


@cache
def _labels() -> re.Pattern[str]:
    words = sorted(map(re.escape, prompts.polish().labels), key=len, reverse=True)
    return re.compile(rf"^(?:{'|'.join(words)})\s*[:：]\s*", re.IGNORECASE)


@cache
def _openings() -> re.Pattern[str]:
    words = sorted(map(re.escape, prompts.polish().openings), key=len, reverse=True)
    return re.compile(rf"^(?:{'|'.join(words)})[\s，、：:]*", re.IGNORECASE)
