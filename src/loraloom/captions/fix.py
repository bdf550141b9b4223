"""Mend captions: each finding has one fix, and what had to be assumed is told."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from loraloom.captions import trigger, vocabulary
from loraloom.captions.draft import Draft, complete
from loraloom.captions.lint import Captioned, settled, synonyms, vague_words
from loraloom.captions.measure import Check, leaks_of
from loraloom.captions.mixed import mixed_forms, rename_form
from loraloom.captions.reading import Match, Reading, read
from loraloom.captions.removal import remove, remove_spans, tidy
from loraloom.captions.shorten import fit, shorten
from loraloom.captions.tokens import Counter
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


def fix(
    captions: Sequence[Captioned],
    check: Check,
    assume: Mapping[str, str] | None = None,
    *,
    may_assume: bool = True,
    counter: Counter | None = None,
) -> list[Fixed]:
    """Mend each caption; `assume` (category -> term) goes before the neutral terms of rules.toml.

    With `may_assume` False nothing is added that the caption does not tell; a caption that is
    incomplete then stays so. `counter`: of the base, whose limit of tokens is then kept.
    """
    check = settled(captions, check)
    fixed = [fix_caption(c, check, assume, may_assume=may_assume) for c in captions]
    for forms, chosen in mixed_forms([each.after for each in fixed]):
        fixed = [_with_one_form(each, forms, chosen) for each in fixed]
    if counter is None or counter.chunked:  # further chunks are read as well
        return fixed
    return [_fitted(each, check, counter) for each in fixed]


def _fitted(each: Fixed, check: Check, counter: Counter) -> Fixed:
    """The caption cut to what the base reads of it."""
    text = fit(each.after, check, counter)
    if text == each.after:
        return each
    done = f"dropped what is past {counter.limit} tokens"
    assumed = tuple(term for term in each.assumed if term in text)
    return replace(each, after=text, changes=(*each.changes, done), assumed=assumed)


def fix_caption(
    captioned: Captioned,
    check: Check,
    assume: Mapping[str, str] | None = None,
    *,
    may_assume: bool = True,
) -> Fixed:
    """Mend one caption; `check` as `settled` gives it."""
    before = captioned.caption
    draft = Draft((before or "").strip())
    if draft.text or may_assume:
        for _ in range(_ROUNDS):
            text = draft.text
            _mend(draft, check)
            if may_assume:
                complete(draft, check, assume or {})
            if draft.text == text:
                break
    after = before if before is not None and before.strip() == draft.text else draft.text
    return Fixed(
        captioned.item, before, after or "", tuple(draft.changes),
        tuple(term for term in dict.fromkeys(draft.assumed) if term in draft.text),
    )  # fmt: skip


def _mend(draft: Draft, check: Check) -> None:
    """Everything for which the text alone suffices."""
    _write_trigger(draft, check)
    _remove_leaks(draft, check)
    _standardise(draft, check)
    _shorten(draft, check)
    _put_trigger_first(draft, check)


def _write_trigger(draft: Draft, check: Check) -> None:
    reading = read(draft.text, check.trigger)
    span = trigger.variant(reading, check.trigger) if check.trigger else None
    if span:
        text = draft.text[: span[0]] + check.trigger + draft.text[span[1] :]
        draft.turn(text, f"wrote the trigger as '{check.trigger}'")


def _remove_leaks(draft: Draft, check: Check) -> None:
    leaks = leaks_of(read(draft.text, check.trigger), check)
    if leaks:
        told = ", ".join(f"'{leak.text}'" for leak in leaks)
        people = check.kind is Kind.CHARACTER
        draft.turn(remove(draft.text, leaks, check.trigger, people=people), f"removed {told}")


def _standardise(draft: Draft, check: Check) -> None:
    reading = read(draft.text, check.trigger)
    for match, standard in reversed(list(synonyms(reading, check.kind))):
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


def _replace(draft: Draft, reading: Reading, match: Match, term: str) -> None:
    start, end = _words_of(reading, match)
    said = draft.text[start:end]
    text = draft.text[:start] + term + draft.text[end:]
    draft.turn(_without_repeats(text), f"'{said}' -> '{term}'")


def _shorten(draft: Draft, check: Check) -> None:
    text, done = shorten(draft.text, check)
    draft.turn(text, ", ".join(done))


def _put_trigger_first(draft: Draft, check: Check) -> None:
    """The trigger where no caption may lack it: at the beginning."""
    if not check.trigger:
        return
    reading = read(draft.text, check.trigger)
    if trigger.is_first(reading) or (reading.trigger_at is not None and check.style == "sentences"):
        return
    text = draft.text
    named = trigger.named_by_class(reading, check.trigger)
    if named:  # "a woman laughing" -> "ohwx woman laughing"
        text = check.trigger + text[named:]
        draft.turn(text, f"put '{check.trigger}' first")
        return
    if reading.trigger_at is not None:
        text = re.sub(re.escape(check.trigger), "", text, count=1, flags=re.IGNORECASE)
    text = tidy(text, people=check.kind is Kind.CHARACTER)
    separator = vocabulary.grammar(reading.language).separator
    draft.turn(
        f"{check.trigger}{separator}{text}" if text else check.trigger,
        f"put '{check.trigger}' first",
    )


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
