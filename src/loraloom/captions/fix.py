"""Mend captions: each finding has one fix, and what had to be assumed is told."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from loraloom.captions import rules, trigger, vocabulary
from loraloom.captions.lint import Captioned, settled, synonyms, vague_words
from loraloom.captions.measure import Check, amount, leaks_of, missing_categories
from loraloom.captions.mixed import mixed_forms, rename_form
from loraloom.captions.reading import Match, Reading, read
from loraloom.captions.removal import remove, remove_spans, tidy
from loraloom.captions.shorten import shorten
from loraloom.kinds import Kind

_ROUNDS = 6


@dataclass(frozen=True)
class Fixed:
    """One caption before and after."""

    item: str
    before: str | None
    after: str
    changes: tuple[str, ...]
    """What was done, in words."""
    assumed: tuple[str, ...]
    """Terms that nobody said: compare them with the picture."""

    @property
    def changed(self) -> bool:
        return self.after != self.before


def _with_one_form(each: Fixed, forms: Sequence[str], chosen: str) -> Fixed:
    """The caption with the form that the set uses most."""
    text, said = each.after, []
    for form in forms:
        renamed = rename_form(text, form, chosen)
        if renamed != text:
            said.append(f"'{form}' -> '{chosen}'")
        text = renamed
    return replace(each, after=text, changes=(*each.changes, *said))


@dataclass
class _Draft:
    text: str
    changes: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def turn(self, text: str, change: str) -> None:
        if text != self.text:
            self.text = text
            self.changes.append(change)


def fix(
    captions: Sequence[Captioned],
    check: Check,
    assume: Mapping[str, str] | None = None,
    *,
    may_assume: bool = True,
) -> list[Fixed]:
    """Mend each caption; `assume` (category -> term) goes before the neutral terms of rules.toml.

    With `may_assume` False nothing is added that the caption does not tell; a caption that is
    incomplete then stays so.
    """
    check = settled(captions, check)
    fixed = [fix_caption(c, check, assume, may_assume=may_assume) for c in captions]
    for forms, chosen in mixed_forms([each.after for each in fixed]):
        fixed = [_with_one_form(each, forms, chosen) for each in fixed]
    return fixed


def fix_caption(
    captioned: Captioned,
    check: Check,
    assume: Mapping[str, str] | None = None,
    *,
    may_assume: bool = True,
) -> Fixed:
    """Mend one caption; `check` as `settled` gives it."""
    before = captioned.caption
    draft = _Draft((before or "").strip())
    if draft.text or may_assume:
        for _ in range(_ROUNDS):
            text = draft.text
            _mend(draft, check)
            if may_assume:
                _complete(draft, check, assume or {})
            if draft.text == text:
                break
    after = before if before is not None and before.strip() == draft.text else draft.text
    return Fixed(
        captioned.item, before, after or "", tuple(draft.changes),
        tuple(term for term in dict.fromkeys(draft.assumed) if term in draft.text),
    )  # fmt: skip


def _mend(draft: _Draft, check: Check) -> None:
    """Everything for which the text alone suffices."""
    _write_trigger(draft, check)
    _remove_leaks(draft, check)
    _standardise(draft, check)
    _shorten(draft, check)
    _put_trigger_first(draft, check)


def _write_trigger(draft: _Draft, check: Check) -> None:
    reading = read(draft.text, check.trigger)
    span = trigger.variant(reading, check.trigger) if check.trigger else None
    if span:
        text = draft.text[: span[0]] + check.trigger + draft.text[span[1] :]
        draft.turn(text, f"wrote the trigger as '{check.trigger}'")


def _remove_leaks(draft: _Draft, check: Check) -> None:
    leaks = leaks_of(read(draft.text, check.trigger), check)
    if leaks:
        told = ", ".join(f"'{leak.text}'" for leak in leaks)
        people = check.kind is Kind.CHARACTER
        draft.turn(remove(draft.text, leaks, check.trigger, people=people), f"removed {told}")


def _standardise(draft: _Draft, check: Check) -> None:
    reading = read(draft.text, check.trigger)
    for match, standard in reversed(list(synonyms(reading))):
        _replace(draft, reading, match, standard)
    reading = read(draft.text, check.trigger)
    for match, instead in reversed(list(vague_words(reading))):
        category = _category_of(instead)
        if category and _says_besides(reading, category, match):
            words = _words_of(reading, match)
            draft.turn(
                remove_spans(draft.text, [words], check.trigger),
                f"removed the vague '{draft.text[slice(*words)]}'",
            )
        else:
            _replace(draft, reading, match, instead)
            draft.assumed.append(instead)


def _replace(draft: _Draft, reading: Reading, match: Match, term: str) -> None:
    start, end = _words_of(reading, match)
    said = draft.text[start:end]
    text = draft.text[:start] + term + draft.text[end:]
    draft.turn(_without_repeats(text), f"'{said}' -> '{term}'")


def _shorten(draft: _Draft, check: Check) -> None:
    text, done = shorten(draft.text, check)
    draft.turn(text, ", ".join(done))


def _put_trigger_first(draft: _Draft, check: Check) -> None:
    """The trigger where no caption may lack it: at the beginning."""
    if not check.trigger:
        return
    reading = read(draft.text, check.trigger)
    if trigger.is_first(reading) or (reading.trigger_at is not None and check.style == "sentences"):
        return
    text = draft.text
    if reading.trigger_at is not None:
        text = re.sub(re.escape(check.trigger), "", text, count=1, flags=re.IGNORECASE)
    text = tidy(text, people=check.kind is Kind.CHARACTER)
    separator = vocabulary.grammar(reading.language).separator
    draft.turn(
        f"{check.trigger}{separator}{text}" if text else check.trigger,
        f"put '{check.trigger}' first",
    )


def _complete(draft: _Draft, check: Check, assume: Mapping[str, str]) -> None:
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


def _add(draft: _Draft, category: str, term: str, check: Check, language: str) -> None:
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


def _says_besides(reading: Reading, category: str, match: Match) -> bool:
    """Whether something else tells what the vague word only hints at."""
    return any(
        term.category == category
        for other in reading.matches
        if other != match
        for term in other.terms
        if term.role != "vague"
    )


def _category_of(term: str) -> str:
    found = vocabulary.index().get(vocabulary.key_of(term), ())
    return next((entry.category for entry in found if entry.category != "vague"), "")


def _words_of(reading: Reading, match: Match) -> tuple[int, int]:
    words = reading.phrases[match.phrase].words
    return words[match.first].start, words[match.last - 1].end


def _without_repeats(text: str) -> str:
    """A standard term that now stands twice in a row is said once."""
    return re.sub(r"(?<![^,，])(\s*)([^,，]+)[,，]\s*\2(?=\s*[,，]|\s*$)", r"\1\2", text)


def _is_chinese(text: str) -> bool:
    return bool(re.search(r"[\u3400-\u9fff]", text))
