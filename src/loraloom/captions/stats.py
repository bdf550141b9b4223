"""What a set of captions says, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from loraloom.captions import rules, vocabulary
from loraloom.captions.reading import Reading, read
from loraloom.captions.spans import feature_spans


@dataclass(frozen=True)
class Stats:
    """The figures of one set."""

    captions: int
    phrases: dict[str, int]
    """Phrase (lower case, trigger apart) -> captions that have it, most frequent first."""
    categories: dict[str, int]
    """Category -> captions that tell it."""
    terms: dict[str, dict[str, int]]
    """Category -> standard term -> captions."""
    outfits: dict[str, int]
    several_hairstyles: bool
    simple_background_share: float | None
    """Of the captions that tell a background."""


def count(captions: Sequence[str], trigger: str | Sequence[str] = "") -> Stats:
    """Count phrases, categories and outfits over the captions; `trigger`: of all, or of each."""
    triggers = [trigger] * len(captions) if isinstance(trigger, str) else trigger
    readings = list(map(read, captions, triggers))
    phrases: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    terms: dict[str, Counter[str]] = {}
    for reading in readings:
        phrases.update({_said(reading, number) for number in range(len(reading.phrases))} - {""})
        said = {(term.category, term.standard) for m in reading.matches for term in m.terms}
        categories.update({category for category, _ in said})
        for category, standard in said:
            terms.setdefault(category, Counter())[standard] += 1
    simple, place = categories["simple_background"], categories["place"]
    return Stats(
        len(captions),
        _sorted(phrases),
        _sorted(categories),
        {category: _sorted(counts) for category, counts in sorted(terms.items())},
        _sorted(_outfits(readings)),
        means_several(list(map(hairstyles, readings))),
        round(simple / (simple + place), 2) if simple + place else None,
    )


@lru_cache(maxsize=4)
def phrases(captions: tuple[str, ...], triggers: tuple[str, ...]) -> Mapping[str, int]:
    """As those of `count`, which reads much more: the same captions again cost nothing."""
    found: Counter[str] = Counter()
    for caption, trigger in zip(captions, triggers, strict=True):
        reading = read(caption, trigger)
        found.update({_said(reading, number) for number in range(len(reading.phrases))} - {""})
    return _sorted(found)


def outfits(captions: Sequence[str], trigger: str = "") -> Counter[str]:
    """Outfit -> captions in which the clothing is said in just these words.

    What a fix assumes where nothing was said is no outfit.
    """
    return _outfits([read(caption, trigger) for caption in captions])


def _outfits(readings: Sequence[Reading]) -> Counter[str]:
    terms = (rules.assumptions(language)["clothing"] for language in vocabulary.LANGUAGES)
    assumed = {_outfit(read(term)) for term in terms}
    found: Counter[str] = Counter()
    for reading in readings:
        outfit = _outfit(reading)
        if outfit and outfit not in assumed:
            found[outfit] += 1
    return found


def several_hairstyles(captions: Sequence[str], trigger: str = "") -> bool:
    """Whether the captions name several hairstyles, and often enough to have been meant."""
    return means_several([hairstyles(read(caption, trigger)) for caption in captions])


def means_several(said: Sequence[Collection[str]]) -> bool:
    """The same, of the hairstyles that each caption names."""
    limits = rules.limits()
    named = [styles for styles in said if styles]
    different = {style for styles in named for style in styles}
    return (
        len(different) >= limits.several_hairstyles
        and len(named) >= limits.several_hairstyles
        and len(named) >= limits.several_hairstyles_share * len(said)
    )


def hairstyles(reading: Reading) -> set[str]:
    """The hairstyles that one caption names."""
    found: set[str] = set()
    for language in vocabulary.LANGUAGES:
        feature = vocabulary.features(language)["hair_style"]
        for phrase in reading.phrases:
            words = tuple(word.text for word in phrase.words)
            spans = list(feature_spans(words, feature, feature.modifiers, hair_changes=False))
            found |= {" ".join(words[span.first : span.last]) for span in spans}
    return found


def _outfit(reading: Reading) -> str:
    told = [m for m in reading.matches if m.says("clothing")]
    words = (
        " ".join(word.text for word in reading.phrases[m.phrase].words[m.reach : m.last])
        for m in told
        # "denim" of "denim jacket" is no garment of its own
        if not any(m.phrase == n.phrase and n.reach <= m.first < n.first for n in told)
    )
    return " + ".join(sorted(words))


def _said(reading: Reading, number: int) -> str:
    words = reading.phrases[number].words
    said = [word for word in words if word.text != "\0"]
    return " ".join(reading.text[said[0].start : said[-1].end].casefold().split()) if said else ""


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
