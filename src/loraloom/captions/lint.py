"""What is wrong with captions: of one, and of a whole set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from loraloom.captions import findings as say
from loraloom.captions import rules, trigger, vocabulary
from loraloom.captions.measure import Check, amount, leaks_of, missing_categories, too_long
from loraloom.captions.mixed import mixed_forms
from loraloom.captions.reading import TRIGGER, Match, Reading, read
from loraloom.captions.stats import outfits, several_hairstyles
from loraloom.captions.tokens import Counter
from loraloom.captions.vocabulary import VERBS
from loraloom.captions.words import Phrase
from loraloom.findings import Finding
from loraloom.kinds import Kind

__all__ = ["Captioned", "Check", "lint", "lint_caption", "settled", "synonyms", "vague_words"]


@dataclass(frozen=True)
class Captioned:
    """One picture's caption; None where there is none."""

    item: str
    caption: str | None


def lint(
    captions: Sequence[Captioned], check: Check, counter: Counter | None = None
) -> list[Finding]:
    """Everything that is wrong, caption by caption, then what concerns the whole set."""
    check = settled(captions, check)
    found: list[Finding] = []
    for captioned in captions:
        found += lint_caption(captioned, check, counter)
    return found + list(_set_findings(captions, check, counter))


def lint_caption(
    captioned: Captioned, check: Check, counter: Counter | None = None
) -> list[Finding]:
    """What is wrong with one caption by itself; `check` as `settled` gives it."""
    if not captioned.caption or not captioned.caption.strip():
        return [say.missing(captioned.item)]
    reading, item = read(captioned.caption, check.trigger), captioned.item
    return [
        *_trigger_findings(reading, item, check),
        *_leak_findings(reading, item, check),
        *_vocabulary_findings(reading, item, check.kind),
        *_completeness_findings(reading, item, check),
        *_length_findings(reading, item, check),
        *_token_findings(reading, item, counter),
    ]


def settled(captions: Sequence[Captioned], check: Check) -> Check:
    """`check` with what the whole set tells: whether it has several hairstyles."""
    if check.hairstyles != "auto":
        return check
    several = several_hairstyles([c.caption for c in captions if c.caption], check.trigger)
    return replace(check, hairstyles="several" if several else "one")


def synonyms(reading: Reading, kind: Kind) -> Iterator[tuple[Match, str]]:
    """Terms that are not the standard ones and can be replaced where they stand."""
    roles = {"other", "near"} if rules.of(kind).strict else {"other"}
    for match in reading.matches:
        term = match.terms[0]
        if all(term.role in roles for term in match.terms) and _replaceable(reading, match):
            yield match, term.standard


def vague_words(reading: Reading) -> Iterator[tuple[Match, str]]:
    """Phrases that say nothing but a vague word, and what to write instead."""
    for match in reading.matches:
        vague = next((term for term in match.terms if term.role == "vague"), None)
        if vague and _is_whole(reading, match):
            yield match, vague.standard


def _trigger_findings(reading: Reading, item: str, check: Check) -> Iterator[Finding]:
    if not check.trigger:
        return
    if reading.trigger_at is None:
        span = trigger.variant(reading, check.trigger)
        if span:
            yield say.trigger_variant(item, check.trigger, reading.text[slice(*span)])
        else:
            yield say.trigger_missing(item, check.trigger)
    elif not trigger.is_first(reading) and check.style != "sentences":
        yield say.trigger_late(item, check.trigger)


def _leak_findings(reading: Reading, item: str, check: Check) -> Iterator[Finding]:
    code = rules.of(check.kind).leak_code
    for leak in leaks_of(reading, check):
        yield say.leak(item, code, leak.text, leak.title)


def _vocabulary_findings(reading: Reading, item: str, kind: Kind) -> Iterator[Finding]:
    for match, standard in synonyms(reading, kind):
        said = reading.source(match.phrase, match.first, match.last)
        yield say.synonym(item, said, standard)
    for match, instead in vague_words(reading):
        said = reading.source(match.phrase, match.first, match.last)
        yield say.vague(item, said, instead)


def _completeness_findings(reading: Reading, item: str, check: Check) -> Iterator[Finding]:
    kind = rules.of(check.kind)
    words, phrases = amount(reading, check.kind)
    if phrases < kind.least_phrases or words < kind.least_words:
        yield say.too_brief(item, words, kind.least_words)
    missing = missing_categories(reading, check)
    if missing:
        yield say.incomplete(item, [name.replace("_", " ") for name in missing])


def _length_findings(reading: Reading, item: str, check: Check) -> Iterator[Finding]:
    excess = too_long(reading, check)
    if excess:
        yield say.too_long(item, *excess)


def _token_findings(reading: Reading, item: str, counter: Counter | None) -> Iterator[Finding]:
    if counter is None:
        return
    count = counter.count(reading.text)
    if count.cut_at is not None:
        rest = reading.text[count.cut_at : count.cut_at + 40].strip()
        yield say.truncated(item, count.tokens, count.limit, rest, chunked=counter.chunked)


def _set_findings(
    captions: Sequence[Captioned], check: Check, counter: Counter | None
) -> Iterator[Finding]:
    texts = [c.caption for c in captions if c.caption and c.caption.strip()]
    if check.trigger:
        have = sum(read(text, check.trigger).trigger_at is not None for text in texts)
        if 0 < have < len(texts):
            yield say.trigger_in_some(check.trigger, have, len(texts))
        ids = counter.ids if counter else None
        size = counter.vocabulary_size if counter else 0
        if common := trigger.common_words(check.trigger, ids, size):
            yield say.trigger_common(check.trigger, common)
        elif used := trigger.used_elsewhere(check.trigger, texts):
            yield say.trigger_used(check.trigger, used)
    for forms, chosen in mixed_forms(texts):
        yield say.mixed(forms, chosen)
    if check.kind is Kind.CHARACTER:
        yield from _clothing_findings(texts, check.trigger)


def _clothing_findings(texts: Sequence[str], trigger_words: str) -> Iterator[Finding]:
    limits = rules.limits()
    for outfit, count in outfits(texts, trigger_words).most_common():
        share = count / len(texts)
        if count >= limits.same_clothing_least and share > limits.same_clothing_share:
            yield say.same_clothing(outfit, count, len(texts), limits.same_clothing_share)


def _is_whole(reading: Reading, match: Match) -> bool:
    """Whether the phrase says nothing else."""
    phrase = reading.phrases[match.phrase]
    inside = Phrase(phrase.words[match.first : match.last], phrase.start, phrase.end)
    return len(reading.content(phrase)) <= len(reading.content(inside))


def _is_tag(reading: Reading, match: Match) -> bool:
    """Whether the phrase is this term, an article aside."""
    words = reading.phrases[match.phrase].words
    passed = vocabulary.grammar_words("articles") | {TRIGGER}
    outside = [*words[: match.first], *words[match.last :]]
    return all(word.text in passed for word in outside)


def _replaceable(reading: Reading, match: Match) -> bool:
    """Whether the standard term can stand where the synonym stands.

    It can where it is the whole tag, and inside a phrase where both are nouns at its end.
    """
    if _is_tag(reading, match):
        return True
    words = [word.text for word in reading.phrases[match.phrase].words]
    said, following = words[match.first : match.last], words[match.last : match.last + 1]
    function = vocabulary.grammar_words("function")
    category = match.terms[0].category
    if following and following[0] not in function and category not in VERBS:
        return False
    if category in VERBS:
        return len(said) > 1 and not reading.is_sentence(reading.phrases[match.phrase])
    if category == "lighting" or said[0] in function:
        return False
    return len(said) > 1 or category in ("clothing", "accessory")
