"""How much a caption says: what is missing, what is too little, what is too much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from loraloom.captions import leaks, rules, unknown, vocabulary
from loraloom.captions.reading import TRIGGER, Reading, uncovered
from loraloom.captions.rules import Style
from loraloom.captions.stats import hairstyles
from loraloom.kinds import Kind


@dataclass(frozen=True)
class Check:
    """What the captions are for."""

    kind: Kind
    trigger: str = ""
    concept: str = ""
    """The words of the target concept, where the trigger does not abbreviate them."""
    style: Style = "tags"
    video: bool = False
    hairstyles: Literal["auto", "one", "several"] = "auto"


def leaks_of(reading: Reading, check: Check) -> list[leaks.Leak]:
    """The leaks of one caption under a settled check."""
    return leaks.find(
        reading,
        check.kind,
        concept_words=check.concept,
        trigger=check.trigger,
        hair_changes=check.hairstyles == "several",
    )


def missing_categories(reading: Reading, check: Check) -> list[str]:
    """The categories that the caption should tell, that can be seen, and that it does not."""
    kind = rules.of(check.kind)
    video = check.video or reading.says("camera")
    required = kind.required_video if video else kind.required
    hidden = rules.hides()
    found = [
        category
        for category in required
        if not reading.says(category) and not hidden.get(category, frozenset()) & reading.standards
    ]
    says_hair = check.hairstyles != "several" or hairstyles(reading)
    if check.kind is Kind.CHARACTER and not says_hair and not hidden["hair"] & reading.standards:
        found.append("hair")
    told = unknown.may_be(reading, found, leaks_of(reading, check)) if found else set()
    return [category for category in found if category not in told]


def amount(reading: Reading, kind: Kind) -> tuple[int, int]:
    """How many words say something, and how many things are said."""
    people = kind is not Kind.CHARACTER  # whose trigger says who is seen
    content = [reading.content(phrase, people=people) for phrase in reading.phrases]
    words = sum(len(words) for words in content)
    if reading.language == "zh-TW":
        words = -(-words // 2)  # most words have two characters
    told = {term.category for match in reading.matches for term in match.terms}
    return words, max(sum(1 for said in content if said), len(told - {"vague"}))


def too_long(reading: Reading, check: Check) -> tuple[str, int, int] | None:
    """What there is too much of, how much, and how much is right; None where it is not."""
    limits = rules.limits()
    sentences = check.style == "sentences"
    factor = limits.chinese_factor if reading.language == "zh-TW" else 1.0
    most_words = limits.sentences_words if sentences else limits.tags_words
    most_phrase = limits.sentences_phrase_words if sentences else limits.tags_phrase_words
    loose = loose_words(reading, check) if check.kind is Kind.CHARACTER else []
    counts = [
        ("words", sum(len(phrase.words) for phrase in reading.phrases), most_words * factor),
        ("words between two commas", max((len(p.words) for p in reading.phrases), default=0),
         most_phrase * factor),
        ("embellishing words", len(filler_words(reading)), limits.filler_words - 1),
        ("words that say nothing standard", len(loose), limits.loose_words * factor),
    ]  # fmt: skip
    for measured, count, most in counts:
        if count > most:
            return measured, count, int(most)
    return None


def filler_words(reading: Reading) -> list[tuple[int, int]]:
    """Where embellishments stand in the text."""
    fillers = vocabulary.grammar_keys("filler")
    return [
        (words[first].start, words[last - 1].end)
        for phrase in reading.phrases
        for words in [phrase.words]
        for first in range(len(words))
        for last in range(first + 1, min(first + 6, len(words)) + 1)
        if tuple(word.text for word in words[first:last]) in fillers
    ]


def loose_words(reading: Reading, check: Check) -> list[str]:
    """Words of the caption that are neither vocabulary, nor grammar, nor a leak."""
    told = {
        (match.phrase, position)
        for match in reading.matches
        for position in range(match.reach, match.last)
    }
    spans = [(leak.start, leak.end) for leak in leaks_of(reading, check)]
    lists = ("function", "people", "surroundings", "articles")
    passed = frozenset().union(*(vocabulary.grammar_keys(name) for name in lists)) | {(TRIGGER,)}
    return [
        phrase.words[at].text
        for number, phrase in enumerate(reading.phrases)
        for at in uncovered(tuple(word.text for word in phrase.words), passed)
        if (number, at) not in told
        and not any(start <= phrase.words[at].start < end for start, end in spans)
    ]
