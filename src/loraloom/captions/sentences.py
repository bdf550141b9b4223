"""Tags as a sentence that a person would write, and sentences as tags."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from loraloom.captions import rules, vocabulary
from loraloom.captions.reading import TRIGGER, Match, Reading, read
from loraloom.captions.rules import Style
from loraloom.captions.spans import feature_spans
from loraloom.captions.vocabulary import Wording

_FEATURES = ("hair_color", "hair_style", "eyes", "skin", "face")
_PART_OF = {
    "clothing": "clothing",
    "accessory": "clothing",
    "expression": "expression",
    "eye_direction": "expression",
    "action": "while",
    "pose": "while",
    "interaction": "while",
    "simple_background": "place",
    "place": "place",
    "lighting": "lighting",
    "view": "view",
    "camera": "rest",
}
_PREPOSITIONS = (
    "at ",
    "with ",
    "under ",
    "against ",
    "in ",
    "on ",
    "by ",
    "covered ",
    "在",
    "背景",
)
_PEOPLE = ("girl", "boy", "woman", "man", "女", "男")


def convert(caption: str, to: Style, trigger: str = "") -> str:
    """The caption as tags, as a sentence, or as a short sentence with tags behind it."""
    reading = read(caption, trigger)
    if to == "tags":
        return to_tags(reading) if _has_sentence(reading) else caption
    if to == "sentences":
        return caption if _has_sentence(reading) else to_sentence(reading)
    tags = to_tags(reading) if _has_sentence(reading) else caption
    return to_hybrid(read(tags, trigger))


def to_tags(reading: Reading) -> str:
    """Trigger, features and standard terms, in the order of captions."""
    separator = vocabulary.grammar(reading.language).separator
    order = rules.category_order()
    ranked: dict[str, int] = {}
    for number, start, text in _features(reading):
        ranked.setdefault(text, -1000 + 10 * number + start)
    for match in reading.matches:
        term, phrase = match.terms[0], reading.phrases[match.phrase]
        if term.category not in order:
            continue
        whole = not reading.is_sentence(phrase) and len(phrase.words) > match.last - match.first
        tag = _text(reading, match.phrase) if whole else _tag(reading, match)
        if whole or all(term.role != "vague" for term in match.terms):
            ranked.setdefault(tag, order.index(term.category))
    parts = [
        _trigger(reading) or _subject_tag(reading),
        *sorted(ranked, key=lambda tag: ranked[tag]),
    ]
    return separator.join(part for part in parts if part) or reading.text


def to_sentence(reading: Reading) -> str:
    """All tags in one sentence; a tag that no list has is said at the end as it is."""
    words = vocabulary.wording(reading.language)
    parts = _parts(reading, words)
    if parts.pop("landscape", None):
        return _landscape(reading, words)
    return _joined(parts, words) or reading.text


def to_hybrid(reading: Reading) -> str:
    """Who does what where as a sentence, then the other tags."""
    words = vocabulary.wording(reading.language)
    parts = _parts(reading, words)
    parts.pop("landscape", None)
    said = ("subject", "expression", "while", "place")
    sentence = _joined({name: parts.get(name, []) for name in said}, words)
    told = {"expression", "eye_direction", "action", "pose", "interaction", "place",
            "simple_background"}  # fmt: skip
    rest = [
        _text(reading, number)
        for number in range(len(reading.phrases))
        if not _is_subject(reading, number, words) and not told & _categories(reading, number)
    ]
    return vocabulary.grammar(reading.language).separator.join([sentence, *rest])


def _parts(reading: Reading, words: Wording) -> dict[str, list[str]]:
    """What belongs to each part of the sentence."""
    parts: dict[str, list[str]] = defaultdict(list)
    features = {number for number, _, _ in _features(reading)}
    for number in range(len(reading.phrases)):
        text = _text(reading, number)
        if _is_subject(reading, number, words):
            parts["subject"].append(_subject(reading, number, words))
        elif number in features:
            parts["features"].append(text)
        else:
            part, said = _said(reading, number, text, words)
            parts[part].append(said)
    if _is_landscape(reading, words):
        parts["landscape"] = ["yes"]
    return _with_pose(parts, words)


def _with_pose(parts: dict[str, list[str]], words: Wording) -> dict[str, list[str]]:
    """Whoever is somewhere and does nothing stands there."""
    parts["subject"] = [subject for subject in parts["subject"] if subject] or []
    person = any(name in subject for subject in parts["subject"] for name in _PEOPLE)
    if person and parts["place"] and not parts["while"] and words.standing:
        parts["while"] = [words.standing]
    return parts


def _joined(parts: dict[str, list[str]], words: Wording) -> str:
    text = ""
    for name, pattern in words.parts.items():
        said = [part for part in parts.get(name, []) if part]
        if not said:
            continue
        if name == "while" and not parts.get("expression"):
            pattern = parts_pattern(pattern)
        text += pattern.replace("{0}", _listed(said, words, plain=name in ("rest", "place")))
    return text.lstrip(" ,，")


def parts_pattern(pattern: str) -> str:
    """Without an expression before it, what is done needs no "while"."""
    return pattern.replace(" while", ",")


def _listed(said: Sequence[str], words: Wording, *, plain: bool) -> str:
    """ "a, b and c"; places and leftovers are only lined up."""
    if plain:
        return (
            (" " if words.articles else words.comma).join(said)
            if len(said) < 2
            else (words.comma.join(said))
        )
    if len(said) == 1:
        return said[0]
    return words.comma.join(said[:-1]) + words.conjunction + said[-1]


def _said(reading: Reading, number: int, text: str, words: Wording) -> tuple[str, str]:
    """The part of the sentence for one tag, and how it is said there."""
    matches = [match for match in reading.matches if match.phrase == number]
    if not matches:
        return "rest", text
    category = matches[0].terms[0].category
    part = _PART_OF.get(category, "rest")
    if text.casefold() in words.said:
        return part, words.said[text.casefold()]
    match category:
        case "clothing" | "accessory":
            return part, _with_article(text, words)
        case "expression" | "eye_direction":
            return part, _expression(text, words)
        case "simple_background" | "place" | "lighting" | "view":
            return part, _placed(category, text, words)
    return part, text


def _expression(text: str, words: Wording) -> str:
    last = text.split()[-1].casefold() if text.split() else ""
    if last in words.nouns and not text.casefold().split()[0].endswith("ing"):
        article = text if last.endswith("s") else _with_article(text, words)
        return words.patterns["noun_expression"].replace("{0}", article)
    return text


def _placed(category: str, text: str, words: Wording) -> str:
    first = text.split()[0].casefold() if text.split() else ""
    if first in ("on", "in", "at", "under", "from", "against", "by", "near"):
        return text
    place = text.removesuffix(" background") if category == "place" else text
    said = place if category == "lighting" else _with_article(place, words)
    return words.patterns[category].replace("{0}", said)


def _with_article(text: str, words: Wording) -> str:
    last = text.split()[-1].casefold() if text.split() else ""
    first = text.split()[0].casefold() if text.split() else ""
    if not words.articles or last in words.bare or first in ("a", "an", "the", "wearing"):
        return text.removeprefix("wearing ")
    return f"{'an' if first[:1] in 'aeio' else 'a'} {text}"


def _landscape(reading: Reading, words: Wording) -> str:
    text = ""
    for number in range(len(reading.phrases)):
        tag = _text(reading, number)
        if _is_subject(reading, number, words):
            said = _subject(reading, number, words)
        else:
            said = words.landscape.get(tag.casefold()) or _said(reading, number, tag, words)[1]
        if text and not said.startswith(_PREPOSITIONS):
            said = words.comma + said
        elif text:
            said = (" " if words.articles else words.comma) + said
        text += said
    return text


def _is_landscape(reading: Reading, words: Wording) -> bool:
    tags = [_text(reading, number).casefold() for number in range(len(reading.phrases))]
    return any(tag in words.landscape for tag in tags) and not any(
        name in tag for tag in tags for name in (*_PEOPLE, "solo")
    )


def _is_subject(reading: Reading, number: int, words: Wording) -> bool:
    texts = {word.text for word in reading.phrases[number].words}
    return TRIGGER in texts or _text(reading, number).casefold() in words.subjects


def _subject(reading: Reading, number: int, words: Wording) -> str:
    text = _text(reading, number)
    return words.subjects.get(text.casefold(), text)


def _features(reading: Reading) -> list[tuple[int, int, str]]:
    """Hair, eyes and the like: phrase, first word, and how they are written."""
    found = []
    for number, phrase in enumerate(reading.phrases):
        words = tuple(word.text for word in phrase.words)
        taken: set[int] = set()
        for language in vocabulary.LANGUAGES:
            for name in _FEATURES:
                feature = vocabulary.features(language)[name]
                for span in feature_spans(words, feature, feature.modifiers, hair_changes=False):
                    if not taken & set(range(span.first, span.last)):
                        taken |= set(range(span.first, span.last))
                        text = reading.source(number, span.first, span.last)
                        found.append((number, span.first, text))
    return found


def _tag(reading: Reading, match: Match) -> str:
    term = match.terms[0]
    said = reading.source(match.phrase, match.first, match.last)
    return _modifiers(reading, match) + (said if term.role == "also" else term.standard)


def _modifiers(reading: Reading, match: Match) -> str:
    words = reading.phrases[match.phrase].words
    if match.reach == match.first:
        return ""
    return reading.text[words[match.reach].start : words[match.first].start]


def _trigger(reading: Reading) -> str:
    word = next((w for p in reading.phrases for w in p.words if w.text == TRIGGER), None)
    return reading.text[word.start : word.end] if word else ""


def _subject_tag(reading: Reading) -> str:
    """ "a girl" at the beginning is the tag "1girl"."""
    text = reading.text.casefold()
    subjects = vocabulary.wording(reading.language).subjects
    return next((tag for tag, said in subjects.items() if said and text.startswith(said)), "")


def _has_sentence(reading: Reading) -> bool:
    return any(len(phrase.words) > 5 and reading.is_sentence(phrase) for phrase in reading.phrases)


def _categories(reading: Reading, number: int) -> set[str]:
    return {t.category for m in reading.matches if m.phrase == number for t in m.terms}


def _text(reading: Reading, number: int) -> str:
    words = reading.phrases[number].words
    return reading.text[words[0].start : words[-1].end].replace("_", " ")
