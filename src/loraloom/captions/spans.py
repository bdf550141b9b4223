"""Where a feature's words stand in one phrase: heads with modifiers, names, bare adjectives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from loraloom.captions import vocabulary
from loraloom.captions.reading import TRIGGER, has_key, longest_at
from loraloom.captions.vocabulary import Feature, Key
from loraloom.captions.words import is_chinese

_LONGEST = 7


@dataclass(frozen=True)
class Span:
    """Words `first` to `last` (exclusive) of a phrase."""

    first: int
    last: int
    title: str
    modifier: bool = False


@lru_cache(maxsize=16384)
def spans_of(
    words: tuple[str, ...], excluded: tuple[str, ...], hair_changes: bool
) -> tuple[Span, ...]:
    """The spans of all excluded features in one phrase."""
    return tuple(
        span
        for feature in _features(excluded)
        if not (hair_changes and feature.name == "hair_style")
        for span in feature_spans(words, feature, siblings_of(excluded), hair_changes=hair_changes)
    )


def feature_spans(
    words: tuple[str, ...], feature: Feature, siblings: frozenset[Key], *, hair_changes: bool
) -> Iterator[Span]:
    """Where one feature is told in a phrase; `siblings`: modifiers that may stand in between."""
    yield from _phrase_spans(words, feature, siblings)
    yield from _open_spans(words, feature)
    if _says_nothing_else(words, feature, siblings):
        passed = vocabulary.grammar_words("whereabouts") | {TRIGGER}
        first = next(at for at, word in enumerate(words) if word not in passed)
        yield Span(first, len(words), feature.title)
    for head in range(len(words)):
        count = _head_length(words, head, feature)
        after = words[head + count] if head + count < len(words) else ""
        if count and after not in feature.before:
            yield from _before_head(words, head, head + count, feature, siblings, hair_changes)
            yield from _after_head(words, head, head + count, feature, siblings)


def _phrase_spans(
    words: tuple[str, ...], feature: Feature, siblings: frozenset[Key]
) -> Iterator[Span]:
    """Features that are named outright, with what describes them."""
    for first in range(len(words)):
        for last in range(min(first + _LONGEST, len(words)), first, -1):
            if has_key(words[first:last], feature.phrases):
                if not (last < len(words) and words[last] in feature.before):
                    start = first if feature.keeps_head else _described(words, first, siblings)
                    yield Span(start, last, feature.title)
                break


def _described(words: tuple[str, ...], first: int, siblings: frozenset[Key]) -> int:
    """Where the adjectives before a named feature begin."""
    fillers = vocabulary.grammar_words("filler")
    while first:
        count = longest_at(words, first, siblings) or int(words[first - 1] in fillers)
        if words[first - 1] == "的" and longest_at(words, first - 1, siblings):
            count = 1
        if not count:
            break
        first -= count
    return first


def _open_spans(words: tuple[str, ...], feature: Feature) -> Iterator[Span]:
    """ "in the style of Monet", "inspired by ...", "monet style": a name that no list has."""
    if not feature.opens and not feature.tails:
        return
    function = vocabulary.grammar_words("function")
    for first in range(len(words)):
        opening = longest_from(words, first, feature.opens)
        last = first + len(opening)
        while opening and last < len(words) and words[last] not in function:
            last += 1
        if opening:
            yield Span(first, last, feature.title)
    start = _tag_start(words, feature)
    short = 1 < len(words) - start < _LONGEST and not set(words[start:-1]) & function
    tail = longest_at(words, len(words), feature.tails) if short else 0
    if tail and not _acts(words[start : len(words) - tail], feature):
        yield Span(start, len(words), feature.title)


def _tag_start(words: tuple[str, ...], feature: Feature) -> int:
    """Where the thing that a phrase names begins: after the trigger; an object's, after "with"."""
    start = int(bool(words) and words[0] == TRIGGER)
    if feature.name != "object_part" or not set(words) & vocabulary.grammar_words("own"):
        return start
    own = max(at for at, word in enumerate(words) if word in vocabulary.grammar_words("own"))
    return own + 1 + int(words[own + 1 : own + 2] in (("a",), ("an",), ("the",)))


def _acts(words: tuple[str, ...], feature: Feature) -> bool:
    """Whether somebody is named, or something done: "cat asleep" + "sofa", "opening" + "door"."""
    doing = vocabulary.grammar_words("doing")
    if any(longest_from(words, first, _actors()) for first in range(len(words))):
        return True
    return any(
        word in doing or (word.endswith("ing") and (word,) not in feature.modifiers)
        for word in words
    )


@cache
def _actors() -> frozenset[Key]:
    return vocabulary.grammar_keys("subject") | vocabulary.grammar_keys("people")


def _says_nothing_else(words: tuple[str, ...], feature: Feature, siblings: frozenset[Key]) -> bool:
    """Whether all that the phrase says is a bare feature: "asian", "silver and black"."""
    passed = vocabulary.grammar_words("function") | {TRIGGER}
    if feature.person:
        passed |= vocabulary.grammar_words("people")
    said = tuple(word for word in words if word != TRIGGER)
    rest = tuple(word for word in words if word not in passed)
    if not rest or not feature.alone:
        return False
    return any(_only(part, feature, siblings) for part in dict.fromkeys((said, rest)))


def _only(rest: tuple[str, ...], feature: Feature, siblings: frozenset[Key]) -> bool:
    """Whether the words are the feature's and those that may stand beside them."""
    end, own = len(rest), False
    while end:
        count = longest_at(rest, end, feature.alone)
        own = own or bool(count)
        count = count or longest_at(rest, end, siblings)
        if not count:
            return False
        end -= count
    return own


def _head_length(words: tuple[str, ...], head: int, feature: Feature) -> int:
    if head >= len(words):
        return 0
    if words[head] == TRIGGER:
        return int(feature.keeps_head)
    for count in range(min(3, len(words) - head), 0, -1):
        key = words[head : head + count]
        if key in feature.heads:
            rest = 0 if feature.keeps_head else _head_length(words[head + count :], 0, feature)
            return count + rest
    return 0


def _before_head(
    words: tuple[str, ...], head: int, last: int, feature: Feature, siblings: frozenset[Key],
    hair_changes: bool,
) -> Iterator[Span]:  # fmt: skip
    """A head with its modifiers before it, or those alone where the head stays."""
    own: list[Span] = []
    first, needed = head, not feature.needs
    while first:
        count = longest_at(words, first, feature.modifiers)
        if count:
            key = words[first - count : first]
            needed = needed or has_key(key, feature.needs)
            if not hair_changes or has_key(key, feature.needs) or not feature.needs:
                own.append(Span(first - count, first, feature.title, modifier=True))
            first -= count
        elif (count := longest_at(words, first, siblings)) or _joins(words, first, feature):
            first -= count or 1
        else:
            break
    if not own or not needed:
        return
    if feature.keeps_head or (hair_changes and feature.needs):
        yield from own
    else:
        yield Span(min(span.first for span in own), last, feature.title)


def _joins(words: tuple[str, ...], first: int, feature: Feature) -> bool:
    """Whether the word before `first` only joins a modifier to what follows."""
    joins = vocabulary.grammar_words("joins") | vocabulary.grammar_words("filler")
    return (
        first >= 2
        and words[first - 1] in joins
        and longest_at(words, first - 1, feature.modifiers) > 0
    )


def _after_head(
    words: tuple[str, ...], head: int, last: int, feature: Feature, siblings: frozenset[Key]
) -> Iterator[Span]:
    """ "hair is long and black": the head, what links, and the modifiers."""
    linking = vocabulary.grammar_words("linking") | {"that", "very"}
    end = last
    while end < len(words) and words[end] in linking:
        end += 1
    predicate = end == last and bool(words[end:]) and is_chinese("".join(words[end - 1 : end + 1]))
    if (end == last and not predicate) or (feature.keeps_head and words[head] != TRIGGER):
        return
    stop, found, needed = end, False, not feature.needs
    while stop < len(words):
        key = longest_from(words, stop, feature.modifiers | siblings)
        if key and not (feature.keeps_head and not has_key(key, feature.modifiers)):
            found = found or has_key(key, feature.modifiers)
            needed = needed or has_key(key, feature.needs)
            stop += len(key)
            end = stop
        elif words[stop] in vocabulary.grammar_words("joins"):
            stop += 1
        else:
            break
    # "is a young woman" describes another head, which is found by itself.
    # Chinese needs no "is", but then nothing else may follow: "線條細膩".
    if predicate and end < len(words):
        return
    if found and needed and not (feature.keeps_head and end < len(words)):
        yield Span(last if feature.keeps_head else head, end, feature.title)


def longest_from(words: tuple[str, ...], start: int, keys: frozenset[Key]) -> Key:
    for count in range(min(_LONGEST, len(words) - start), 0, -1):
        if has_key(words[start : start + count], keys):
            return words[start : start + count]
    return ()


@cache
def _features(names: tuple[str, ...]) -> tuple[Feature, ...]:
    """The features of these names in all languages."""
    return tuple(
        vocabulary.features(language)[name] for language in vocabulary.LANGUAGES for name in names
    )


@cache
def heads_of(names: tuple[str, ...]) -> frozenset[Key]:
    """What the features of these names are said of: "eye", "handle"."""
    return frozenset[Key]().union(*(feature.heads for feature in _features(names)))


@cache
def siblings_of(names: tuple[str, ...]) -> frozenset[Key]:
    return frozenset[Key]().union(*(feature.modifiers for feature in _features(names)))
