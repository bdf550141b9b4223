"""A caption that says too much, cut down to what is standard in it."""

from __future__ import annotations

from loraloom.captions import rules, vocabulary
from loraloom.captions.measure import Check, filler_words, too_long
from loraloom.captions.reading import Match, Reading, read
from loraloom.captions.removal import remove_spans, tidy
from loraloom.captions.tokens import Counter
from loraloom.captions.vocabulary import key_of
from loraloom.kinds import Kind


def shorten(text: str, check: Check) -> tuple[str, list[str]]:
    """`text` within the limits, and what was done.

    A character's caption keeps its standard terms; others lose embellishments, then their end.
    """
    if not too_long(read(text, check.trigger), check):
        return text, []
    done = []
    reading = read(text, check.trigger)
    if check.kind is Kind.CHARACTER:
        text = _terms_only(reading, check.trigger)
        done.append("kept the standard terms only")
    elif fillers := filler_words(reading):
        text = remove_spans(text, fillers, check.trigger)
        done.append("dropped embellishing words")
    shorter = _within(text, check)
    return shorter, done if shorter == text else [*done, "cut the end"]


def fit(text: str, check: Check, counter: Counter) -> str:
    """`text` cut to the tokens that the base reads: first what is not asked for, from the end."""
    required = set(rules.of(check.kind).required)
    for spared in (required, set[str]()):
        for number in reversed(range(1, len(read(text, check.trigger).phrases))):
            if counter.count(text).cut_at is None:
                return text
            reading = read(text, check.trigger)
            if not _tells(reading, number, spared):
                phrase = reading.phrases[number]
                text = tidy(text[: phrase.start] + text[phrase.end :], check.trigger)
    while (at := counter.count(text).cut_at) is not None and " " in text[:at].strip():
        text = tidy(text[:at].rsplit(" ", 1)[0], check.trigger)
    return text


def _tells(reading: Reading, number: int, categories: set[str]) -> bool:
    """Whether a phrase says one of the categories."""
    own = (match.terms for match in reading.matches if match.phrase == number)
    said = {term.category for terms in own for term in terms}
    if said & {"simple_background", "place"}:
        said.add("background")
    return bool(said & categories)


def _within(text: str, check: Check) -> str:
    """The first phrases that are not too long."""
    reading = read(text, check.trigger)
    while len(reading.phrases) > 2 and too_long(reading, check):
        text = tidy(text[: reading.phrases[-1].start], check.trigger)
        reading = read(text, check.trigger)
    return _first_words(reading, check) if too_long(reading, check) else text


def _terms_only(reading: Reading, trigger_words: str) -> str:
    """Trigger and the terms found, in the order of captions."""
    order = rules.category_order()
    kept: dict[str, int] = {}
    for match in reading.matches:
        category = match.terms[0].category
        if category in order and not _is_other_form(reading, match):
            kept.setdefault(_term_text(reading, match), order.index(category))
    terms = sorted(kept, key=lambda term: kept[term])
    for place in set(kept.values()):  # two terms a category are plain, more are noise
        longest = sorted((t for t in terms if kept[t] == place), key=len, reverse=True)
        terms = [term for term in terms if term not in longest[2:]]
    parts = ([trigger_words] if reading.trigger_at is not None else []) + terms
    return vocabulary.grammar(reading.language).separator.join(parts)


def _is_other_form(reading: Reading, match: Match) -> bool:
    """Whether a loose word is only said in another form: "carries" for "carrying"."""
    said = reading.source(match.phrase, match.first, match.last)
    return match.terms[0].role == "also" and key_of(said) not in vocabulary.index()


def _term_text(reading: Reading, match: Match) -> str:
    """The standard term, with the colours and materials said before it."""
    term = match.terms[0]
    said = reading.source(match.phrase, match.first, match.last)
    standard = said if term.role == "also" else term.standard
    if match.reach == match.first:
        return standard
    words = reading.phrases[match.phrase].words
    before = reading.text[words[match.reach].start : words[match.first].start]
    return before + standard


def _first_words(reading: Reading, check: Check) -> str:
    limits = rules.limits()
    most = limits.sentences_phrase_words if check.style == "sentences" else limits.tags_phrase_words
    kept = [
        reading.text[phrase.words[0].start : phrase.words[min(most, len(phrase.words)) - 1].end]
        for phrase in reading.phrases[:3]
    ]
    return vocabulary.grammar(reading.language).separator.join(kept)
