"""Which words give a target concept away."""

from __future__ import annotations

from functools import cache

from loraloom.captions import vocabulary
from loraloom.captions.vocabulary import Concept, Key, key_of

_SHORTEST = 4
GENERIC = frozenset(
    {
        "pose",
        "posing",
        "effect",
        "style",
        "position",
        "mood",
        "atmosphere",
        "composition",
        "look",
        "photograph",
        "photo",
        "picture",
        "image",
        "images",
        "frame",
        "concept",
        "shot",
        "stance",
        "gesture",
        "vibe",
        "feel",
        "framing",
        "view",
        "photography",
        "姿",
        "勢",
        "效",
        "果",
        "氛",
        "圍",
        "構",
        "圖",
        "風",
        "格",
        "攝",
        "影",
    }
)
"""What a concept's name may end in and another phrase too: alone it says nothing of the concept."""


def giveaways(concept_words: str, trigger: str) -> tuple[frozenset[Key], bool]:
    """The phrases that tell the concept, and whether "... effect" tells one too.

    `concept_words` ("double exposure") or, where they are empty, the trigger ("dblexp") name the
    concept. Where neither does, the unmistakable names of all concepts count.
    """
    known = named(concept_words) or (() if concept_words else guessed(trigger))
    if known:
        phrases = [words for concept in known for words in (*concept.core, *concept.words)]
    elif concept_words:
        phrases = _own_words(concept_words)
    else:
        phrases = [words for concept in vocabulary.concepts() for words in concept.core]
    if concept_words:
        phrases.append(concept_words)
    return frozenset(key_of(words) for words in phrases) - {()}, not concept_words


def known_name(name: str) -> str:
    """A concept's own words where its folder is called by them: "double_exposure"; else empty."""
    words = " ".join(name.replace("_", " ").replace("-", " ").split())
    return words if named(words) else ""


def named(concept_words: str) -> tuple[Concept, ...]:
    """The known concepts of that name, in all languages."""
    key = key_of(concept_words)
    if not key:
        return ()
    wanted = content(concept_words)  # "cozy vibe" is "cozy mood"
    names = {
        concept.english
        for concept in vocabulary.concepts()
        if any(
            key == key_of(words) or content(words) == wanted != ()
            for words in (concept.name, concept.english, *concept.core)
        )
    }
    return tuple(concept for concept in vocabulary.concepts() if concept.english in names)


@cache
def guessed(trigger: str) -> tuple[Concept, ...]:
    """The concepts that a trigger abbreviates: "dblexp" is "double exposure"."""
    letters = "".join(char for char in trigger.casefold() if char.isalpha())
    if len(letters) < _SHORTEST:
        return ()
    names = {c.english for c in vocabulary.concepts() if _abbreviates(letters, c.english)}
    return tuple(concept for concept in vocabulary.concepts() if concept.english in names)


@cache
def effect_heads() -> frozenset[Key]:
    """The words after which a phrase names an effect."""
    return frozenset({("effect",), ("effects",), ("效", "果")})


@cache
def lead_words() -> frozenset[str]:
    """What may stand before a concept's words and goes with them: "a", "two", "with"."""
    return vocabulary.grammar_words("function") | vocabulary.grammar_words("numbers")


def _abbreviates(letters: str, name: str) -> bool:
    """Whether the letters stand in the name in this order, from the first on, or contain it."""
    joined = "".join(char for char in name if char.isalpha())
    first_word = name.split()[0]
    if joined in letters or (len(first_word) >= _SHORTEST and letters.startswith(first_word)):
        return True
    if letters[0] != joined[0] or len(letters) * 3 < len(joined):
        return False
    rest = iter(joined)
    return all(letter in rest for letter in letters)


def content(concept_words: str) -> Key:
    """The words of a concept's name that say what it is: "heart hands" of "heart hands pose"."""
    passed = vocabulary.grammar_words("function") | GENERIC
    return tuple(word for word in key_of(concept_words) if word not in passed)


def _own_words(concept_words: str) -> list[str]:
    """The telling words of a concept that is not in the lists: all together, or the rare ones."""
    known = {word for key in vocabulary.index() for word in key}
    words = content(concept_words)
    return [" ".join(words), *(word for word in words if word not in known)]
