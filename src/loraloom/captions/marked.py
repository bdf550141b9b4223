"""A caption in pieces: what calls the adapter, what can be asked for, what it should keep silent.

What a caption says of a picture can be changed by the prompt later; what it leaves out goes into
the trigger. So the three are shown apart while it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from loraloom.captions.measure import Check, leaks_of, missing_categories
from loraloom.captions.reading import Reading, read, trigger_spans

MARKED = 1500
"""Characters of a caption that are looked at: the time grows with their square where no comma parts
them, and no text encoder reads more."""
Role = Literal["", "trigger", "said", "leak"]


@dataclass(frozen=True)
class Piece:
    """A stretch of the caption; all of them together are the caption."""

    text: str
    role: Role = ""
    """ "": neither."""
    title: str = ""
    """The category that it says, or the feature that it gives away."""


@dataclass(frozen=True)
class Marked:
    """A caption's pieces, and the categories that it should tell and does not."""

    pieces: tuple[Piece, ...]
    missing: tuple[str, ...]


def mark(caption: str, check: Check) -> Marked:
    """Read one caption; `check` as `lint.settled` gives it."""
    reading = read(caption[:MARKED], check.trigger)
    missing = missing_categories(reading, check) if caption.strip() else []
    rest = (Piece(caption[MARKED:]),) if len(caption) > MARKED else ()
    return Marked((*_pieces(reading, check), *rest), tuple(missing))


def _pieces(reading: Reading, check: Check) -> Iterator[Piece]:
    roles: list[tuple[Role, str]] = [("", "")] * len(reading.text)
    for start, end, role, title in _stretches(reading, check):
        roles[start:end] = [(role, title)] * (end - start)
    begun = 0
    for at in range(1, len(roles) + 1):
        if at == len(roles) or roles[at] != roles[begun]:
            yield Piece(reading.text[begun:at], *roles[begun])
            begun = at


def _stretches(reading: Reading, check: Check) -> Iterator[tuple[int, int, Role, str]]:
    """Start, end, role and title; the later ones stand above the earlier."""
    for match in reading.matches:
        words = reading.phrases[match.phrase].words
        category = match.terms[0].category
        if category != "vague":
            yield words[match.reach].start, words[match.last - 1].end, "said", category
    for leak in leaks_of(reading, check):
        yield leak.start, leak.end, "leak", leak.title
    for start, end in trigger_spans(reading.text, check.trigger):
        yield start, end, "trigger", ""
