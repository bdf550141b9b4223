"""What the program says in English, in the language of a request.

Findings, diagnoses and errors are plain sentences with values in them: kept, told from process to
process, and to programs. For people of another language each is recognised by its form, which is
how it stands in the source; the forms and their translations are in the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from string import Formatter

from loraloom.web import texts

LONGEST = 1000
"""Characters of what is looked at; more is somebody's own text."""
_TOGETHER = 6
"""Sentences in a row that may be one form."""
_BETWEEN = re.compile(r"(?<=[.!?:;]) ")


@dataclass(frozen=True)
class _Form:
    """A sentence with places for values, as in "There is no job {job_id}."."""

    words: tuple[str, ...]
    """What stands before, between and behind the values."""
    names: tuple[str, ...]
    """Of the values."""
    translation: str

    def values(self, text: str) -> dict[str, str] | None:
        """What stands in the places of `text`; None where that is another sentence."""
        if not (text.startswith(self.words[0]) and text.endswith(self.words[-1])):
            return None
        at, end = len(self.words[0]), len(text) - len(self.words[-1])
        values: dict[str, str] = {}
        for place, name in enumerate(self.names, 1):
            words = self.words[place]
            if name in values:
                behind = at + len(values[name])
                is_it = text[at:behind] == values[name] and text.startswith(words, behind)
            else:
                behind = end if place == len(self.names) else text.find(words, at, end)
                is_it = at <= behind
            if not is_it:
                return None
            values.setdefault(name, text[at:behind])
            at = behind + len(words)
        return values if at == len(text) else None


def said(text: str) -> str:
    """One or more sentences in the language of the request; what has no translation as it is."""
    language = texts.language()
    return text if language == "en" or len(text) > LONGEST else _told(text, language)


@lru_cache(maxsize=4096)
def _told(text: str, language: str) -> str:
    """From the left, each time the most sentences in a row that are known together."""
    whole = _known(text, language)
    if whole is not None:
        return whole
    parts, told, at = _BETWEEN.split(text), "", 0
    while at < len(parts):
        for count in range(min(_TOGETHER, len(parts) - at), 0, -1):
            known = _known(" ".join(parts[at : at + count]), language)
            if known is not None:
                break
        else:
            count, known = 1, parts[at] + " "
        told += known
        at += count
    return told.removesuffix(" ")


def _known(text: str, language: str, *, within: bool = False) -> str | None:
    """The translation of a known sentence; values that are one too are told with it."""
    plain, forms = _forms(language)
    if text in plain:
        return plain[text]
    for form in forms:
        values = form.values(text)
        if values is not None:
            if not within:
                values = {n: _known(v, language, within=True) or v for n, v in values.items()}
            return form.translation.format(**values)
    return None


@cache
def _forms(language: str) -> tuple[dict[str, str], list[_Form]]:
    """Sentences without values, and forms, those that say most first."""
    plain: dict[str, str] = {}
    forms: list[_Form] = []
    for message in texts.messages(language):
        if not (isinstance(message.id, str) and isinstance(message.string, str) and message.string):
            continue
        if " " not in message.id:
            continue
        parts = list(_parts(message.id)) if "{" in message.id else []
        names = tuple(name for _, name in parts if name)
        if names:
            words = [literal for literal, _ in parts]
            words += [""] if parts[-1][1] else []
            forms.append(_Form(tuple(words), names, message.string))
        else:
            plain[message.id] = message.string
    forms.sort(key=lambda form: -sum(map(len, form.words)))
    return plain, forms


def _parts(form: str) -> Iterator[tuple[str, str]]:
    """(words, the value after them or "")."""
    return ((words, name or "") for words, name, _, _ in Formatter().parse(form))
