"""From what a picture was said to show to its caption: trigger first, standard terms, no leaks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from loraloom.captions import rules, sentences, vocabulary
from loraloom.captions.auto import booru, defaults
from loraloom.captions.auto.answer import Answer
from loraloom.captions.fix import fix_caption
from loraloom.captions.lint import Captioned
from loraloom.captions.measure import Check, leaks_of
from loraloom.captions.reading import read
from loraloom.captions.rules import Style
from loraloom.captions.spans import spans_of
from loraloom.captions.vocabulary import key_of
from loraloom.kinds import Kind

_STYLE = ("style_medium", "style_manner", "style_trait")
_UNKNOWN = 50


@dataclass(frozen=True)
class Order:
    """How captions are to be written."""

    check: Check
    """What for; with `hairstyles` settled before captions are drafted."""
    style: Style
    """Tags, sentences or both, whatever the answers are."""
    threshold: float = 0.0
    """How sure a tag must be."""
    own: frozenset[str] = frozenset()
    """Tags that tell what the whole set shows, as `own_tags` finds them; they are not said."""


def caption_of(answer: Answer, order: Order) -> str:
    """The caption; empty where nothing is left to say."""
    plain = ", ".join(chosen_tags(answer, order)) if answer.tags else answer.text
    check = replace(order.check, style="tags" if answer.tags else order.check.style)
    text = _mended(plain, replace(check, trigger=""))
    if order.check.trigger:
        text = _mended(_called(text, order.check), check)
    if order.style == check.style:
        return text
    written = sentences.convert(text, order.style, order.check.trigger)
    return _mended(written, replace(check, style=order.style))


def own_tags(answers: Sequence[Answer], order: Order) -> frozenset[str]:
    """Things without a category that most pictures of a character or an object show.

    They are what the adapter learns: the mug of a mug, a halo. Few pictures tell nothing.
    """
    limits = defaults.own()
    tagged = [answer for answer in answers if answer.tags]
    if order.check.kind.value not in limits.kinds or len(tagged) < limits.least_pictures:
        return frozenset()
    named = {tag.name for answer in tagged for tag in answer.tags if tag.names}
    counts = Counter(name for answer in tagged for name in _sure_tags(answer, order))
    return frozenset(
        name
        for name, count in counts.items()
        if count >= limits.share * len(tagged)
        and name not in named
        and not (order.check.hairstyles == "several" and _is_hairstyle(name))
        and _rank(name, order.check.kind) in (-1, _UNKNOWN)
    )


def everything(answer: Answer, threshold: float) -> str:
    """All that was seen, identity and all, as one text."""
    return answer.text or ", ".join(tag.name for tag in answer.tags if tag.share >= threshold)


def chosen_tags(answer: Answer, order: Order) -> list[str]:
    """The tags to say, as captions say them, in the order of captions."""
    sure = _sure_tags(answer, order)
    names = _with_few_unknown([name for name in sure if name not in order.own], sure, order.check)
    return sorted(names, key=lambda name: _rank(name, order.check.kind))


def _sure_tags(answer: Answer, order: Order) -> dict[str, float]:
    """The tags that are sure enough, as captions say them, and how sure each is.

    Without the wider of two, what the trigger's class word says, and names that do not belong here.
    """
    chosen, check = defaults.tagger(), order.check
    sure: dict[str, float] = {}
    for tag in answer.tags:
        least = max(order.threshold, chosen.names_threshold) if tag.names else order.threshold
        wanted = not tag.names or check.kind.value in chosen.names_for
        words = booru.said(tag.name) if wanted and tag.share >= least else ""
        if words:
            sure[words] = max(tag.share, sure.get(words, 0.0))
    class_word = key_of(check.trigger)[-1:]
    return {
        name: sure[name]
        for name in _without_wider(list(sure))
        if (not class_word or key_of(name)[-1:] != class_word) and not _is_hair_colour(name, check)
    }


def _without_wider(names: Sequence[str]) -> list[str]:
    """Without "shirt" where "white shirt" is said."""
    keys = {name: key_of(name) for name in names}
    return [
        name
        for name in names
        if not any(
            other != keys[name] and other[-len(keys[name]) :] == keys[name]
            for other in keys.values()
            if keys[name]
        )
    ]


def _with_few_unknown(names: list[str], sure: Mapping[str, float], check: Check) -> list[str]:
    """Of a character's tags that no list has, the surest, as many words as lint lets pass."""
    if check.kind is not Kind.CHARACTER:
        return names
    unknown = [name for name in names if not read(name).matches and not leaks_of(read(name), check)]
    words, dropped = rules.limits().loose_words, set()
    for name in sorted(unknown, key=lambda name: -sure[name]):
        words -= len(key_of(name))
        if words < 0:
            dropped.add(name)
    return [name for name in names if name not in dropped]


def _is_hair_colour(name: str, check: Check) -> bool:
    """Whether it tells the colour of hair and no hairstyle, in a caption that says hairstyles."""
    colour = spans_of(key_of(name), ("hair_color",), hair_changes=True)
    return check.hairstyles == "several" and bool(colour) and not _is_hairstyle(name)


def _is_hairstyle(name: str) -> bool:
    return bool(spans_of(key_of(name), ("hair_style",), hair_changes=False))


def _rank(name: str, kind: Kind) -> int:
    """Where in a caption the tag stands; unknown ones are a picture's subject but a character's."""
    order = rules.category_order()
    categories = [t.category for match in read(name).matches for t in match.terms]
    known = [order.index(category) for category in categories if category in order]
    if known:
        return min(known)
    if spans_of(key_of(name), _STYLE, hair_changes=False):
        return _UNKNOWN + 1
    return _UNKNOWN if kind is Kind.CHARACTER else -1


def _called(text: str, check: Check) -> str:
    """ "A woman laughs in a park" by the trigger: "ohwx woman laughs in a park"."""
    if not text or read(text, check.trigger).trigger_at is not None:
        return text
    nouns = [word for word in key_of(check.trigger) if len(word) > 1]
    if check.kind is Kind.CHARACTER:
        nouns += sorted(_people(), key=len, reverse=True)
    pattern = rf"^(?:(?:{_articles()})\s*)?(?:{'|'.join(map(re.escape, nouns))})(?![A-Za-z])"
    return re.sub(pattern, lambda _: check.trigger, text, count=1, flags=re.IGNORECASE)


def _mended(text: str, check: Check) -> str:
    """With the leaks taken out, in standard terms, the trigger first; nothing is assumed."""
    return fix_caption(Captioned("", text), check, may_assume=False).after if text else ""


@cache
def _people() -> frozenset[str]:
    return vocabulary.grammar_words("people") | {
        "".join(key) for key in vocabulary.grammar_keys("people") if not "".join(key).isascii()
    }


@cache
def _articles() -> str:
    lists = (vocabulary.grammar(language).lists for language in vocabulary.LANGUAGES)
    words = sorted((word for found in lists for word in found["articles"]), key=len, reverse=True)
    escaped = (re.escape(word) + (r"\b" if word.isascii() else "") for word in words)
    return "|".join(escaped)
