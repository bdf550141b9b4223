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

_LONGEST = 4000
"""Characters of what is looked at; more is somebody's own text."""
_BETWEEN = re.compile(r"(?<=[.!?:;]) ")


@dataclass(frozen=True)
class _Form:
    """A sentence with places for values, as in "There is no job {job_id}."."""

    begin: str
    end: str
    pattern: re.Pattern[str]
    translation: str

    def fill(self, text: str, language: str) -> str | None:
        """The translation with the values of `text`; None where that is another sentence."""
        if not (text.startswith(self.begin) and text.endswith(self.end)):
            return None
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        values = {name: _told(value, language) for name, value in found.groupdict().items()}
        return self.translation.format(**values)


def said(text: str) -> str:
    """One or more sentences in the language of the request; what has no translation as it is."""
    language = texts.language()
    return text if language == "en" or len(text) > _LONGEST else _told(text, language)


@lru_cache(maxsize=4096)
def _told(text: str, language: str) -> str:
    """The longest beginning that is known, then the rest."""
    if not text:
        return text
    ends = [match.start() for match in _BETWEEN.finditer(text)]
    for end in (len(text), *reversed(ends)):
        known = _known(text[:end], language)
        if known is not None:
            return known + _told(text[end + 1 :], language)
    if not ends:
        return text
    return f"{text[: ends[0]]} {_told(text[ends[0] + 1 :], language)}"


def _known(text: str, language: str) -> str | None:
    plain, forms = _forms(language)
    if text in plain:
        return plain[text]
    filled = (form.fill(text, language) for form in forms)
    return next((one for one in filled if one is not None), None)


@cache
def _forms(language: str) -> tuple[dict[str, str], list[_Form]]:
    """Sentences without values, and forms, those that say most first."""
    plain: dict[str, str] = {}
    forms: list[tuple[int, _Form]] = []
    for message in texts.messages(language):
        if not (isinstance(message.id, str) and isinstance(message.string, str) and message.string):
            continue
        if " " not in message.id:
            continue
        parts = list(_parts(message.id)) if "{" in message.id else []
        if any(name for _, name in parts):
            literal = [words for words, _ in parts]
            weight = sum(map(len, literal))
            end = literal[-1] if not parts[-1][1] else ""
            form = _Form(literal[0], end, _pattern(parts), message.string)
            forms.append((weight, form))
        else:
            plain[message.id] = message.string
    forms.sort(key=lambda pair: -pair[0])
    return plain, [form for _, form in forms]


def _parts(form: str) -> Iterator[tuple[str, str]]:
    """(words, the value after them or "")."""
    return ((words, name or "") for words, name, _, _ in Formatter().parse(form))


def _pattern(parts: list[tuple[str, str]]) -> re.Pattern[str]:
    written, named = "", set[str]()
    for words, name in parts:
        written += re.escape(words)
        if name:
            written += f"(?P={name})" if name in named else f"(?P<{name}>.*?)"
            named.add(name)
    return re.compile(written, re.DOTALL)
