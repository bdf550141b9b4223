"""A caption while it is mended, and what is added to it because nobody said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from loraloom.captions import rules, vocabulary
from loraloom.captions.measure import Check, amount, missing_categories
from loraloom.captions.reading import Reading, read


@dataclass
class Draft:
    """A caption, what was changed in it, and what was assumed."""

    text: str
    changes: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def turn(self, text: str, change: str) -> None:
        if text != self.text:
            self.text = text
            self.changes.append(change)


def complete(draft: Draft, check: Check, assume: Mapping[str, str]) -> None:
    """Add what is missing from what the user or rules.toml says, in the order of captions."""
    reading = read(draft.text, check.trigger)
    chinese = reading.language == "zh-TW" or (not reading.matches and _is_chinese(check.trigger))
    language = "zh-TW" if chinese else "en"
    terms = {**rules.assumptions(language), **assume}
    for category in missing_categories(reading, check):
        if category in terms:
            _add(draft, category, terms[category], check, language)
    kind = rules.of(check.kind)
    for category in rules.fill_order(check.kind):
        reading = read(draft.text, check.trigger)
        words, phrases = amount(reading, check.kind)
        if phrases >= kind.least_phrases and words >= kind.least_words:
            return
        if not reading.says(category):
            _add(draft, category, terms[category], check, language)


def _add(draft: Draft, category: str, term: str, check: Check, language: str) -> None:
    reading = read(draft.text, check.trigger)
    separator = vocabulary.grammar(language).separator
    at = _place_for(reading, category)
    head, tail = draft.text[:at].rstrip(" ,，"), draft.text[at:].lstrip(" ,，")
    stop = ""
    if not tail and head.endswith((".", "。")):
        head, stop = head.rstrip(".。 "), head[-1]
    text = separator.join(part for part in (head, term, tail) if part) + stop
    draft.assumed.append(term)
    draft.turn(text, f"assumed '{term}'")


def _place_for(reading: Reading, category: str) -> int:
    """Where the first phrase begins that says something of a later category."""
    order = [*rules.category_order()]
    rank = order.index("simple_background" if category == "background" else category)
    for number, phrase in enumerate(reading.phrases):
        ranks = [
            order.index(term.category)
            for match in reading.matches
            if match.phrase == number
            for term in match.terms
            if term.category in order
        ]
        if number and ranks and min(ranks) > rank and not reading.is_sentence(phrase):
            return (
                phrase.words[0].start
                if reading.text[phrase.words[0].start - 1] != "("
                else (len(reading.text))
            )
    return len(reading.text)


def _is_chinese(text: str) -> bool:
    return bool(re.search(r"[\u3400-\u9fff]", text))
