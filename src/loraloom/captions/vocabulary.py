"""The product's own word lists, from data/captions: terms, features, concepts, grammar."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from loraloom.captions.words import split_words

LANGUAGES = ("en", "zh-TW")
Key = tuple[str, ...]
Role = Literal["standard", "other", "near", "same", "also", "vague"]
"""The standard term; what is replaced; what is replaced where a kind is strict; what a set does not
mix with the standard term; what tells the category too; what tells too little."""
VERBS = frozenset({"expression", "eye_direction", "action", "pose", "interaction"})
"""Categories whose terms are verbs, so that "smiles" is "smiling"."""


@dataclass(frozen=True)
class Term:
    """One way to say something: its category, and the standard term for it."""

    category: str
    standard: str
    role: Role


@dataclass(frozen=True)
class Category:
    """One category of the standard vocabulary in one language."""

    name: str
    title: str
    nominal: bool
    """Its terms are noun phrases: a synonym can be replaced inside a sentence too."""
    background: bool
    terms: Mapping[str, tuple[str, ...]]
    """Standard term -> other ways to say it."""
    also: tuple[str, ...]
    english: Mapping[str, str]
    """Standard term -> the English standard term."""
    synonyms: Role
    """What the other ways to say a term are, unless `roles` names them."""
    roles: Mapping[str, Role]
    endings: tuple[str, ...]
    """A word that ends so tells the category too."""


@dataclass(frozen=True)
class Feature:
    """Words that one kind of adapter should learn by itself; see data/captions/en/features.toml."""

    name: str
    title: str
    heads: frozenset[Key]
    modifiers: frozenset[Key]
    phrases: frozenset[Key]
    alone: frozenset[Key]
    needs: frozenset[Key]
    opens: frozenset[Key]
    """After these words a name follows that no list has: "in the style of"."""
    tails: frozenset[Key]
    """A phrase that ends so names a feature: "style"."""
    before: frozenset[str]
    keeps_head: bool
    person: bool
    """It stands alone beside a word for a person as well: "asian woman"."""


@dataclass(frozen=True)
class Concept:
    """One concept with the words that give it away."""

    name: str
    english: str
    core: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """How captions of one language are held together."""

    separator: str
    stop: str
    lists: Mapping[str, tuple[str, ...]]

    def keys(self, name: str) -> frozenset[Key]:
        """One list as word tuples."""
        return _keys(self.lists.get(name, ()))

    def words(self, name: str) -> frozenset[str]:
        """One list's single words."""
        return frozenset(key[0] for key in self.keys(name) if len(key) == 1)


def key_of(text: str) -> Key:
    """A phrase as it is compared."""
    return tuple(word.text for word in split_words(text, spelling()))


@cache
def spelling() -> Mapping[str, str]:
    """British -> American, as parts of words."""
    table: dict[str, str] = _read("en", "grammar")["spelling"]
    return table


@cache
def categories(language: str) -> Mapping[str, Category]:
    """The standard vocabulary of one language, by category; `vague` is among them."""
    return {name: _category(name, table) for name, table in _read(language, "terms").items()}


@cache
def features(language: str) -> Mapping[str, Feature]:
    """The features of one language, by name."""
    tables = _read(language, "features")
    lists = tables.pop("lists")
    return {name: _feature(name, table, lists) for name, table in tables.items()}


@cache
def title(name: str, language: str) -> str:
    """What a category, or a feature by its title in any language, is called in this one; itself
    where it is neither."""
    if name in categories(language):
        return categories(language)[name].title
    for known in LANGUAGES:
        for key, feature in features(known).items():
            if feature.title == name and key in features(language):
                return features(language)[key].title
    return name


@cache
def word_list(name: str) -> frozenset[Key]:
    """One of the feature files' lists ("colors"), in all languages."""
    return frozenset().union(
        *(_keys(_read(language, "features")["lists"].get(name, ())) for language in LANGUAGES)
    )


@cache
def concepts() -> tuple[Concept, ...]:
    """The known concepts of all languages."""
    return tuple(
        Concept(name, table.get("en", name), tuple(table["core"]), tuple(table["words"]))
        for language in LANGUAGES
        for name, table in _read(language, "concepts").items()
    )


@cache
def grammar(language: str) -> Grammar:
    """How captions of one language are held together."""
    table = _read(language, "grammar")
    lists = {name: tuple(words) for name, words in table.items() if isinstance(words, list)}
    return Grammar(table["separator"], table["stop"], lists)


@dataclass(frozen=True)
class Wording:
    """How tags of one language are said in a sentence; see data/captions/en/sentences.toml."""

    parts: Mapping[str, str]
    """Part of the sentence -> its pattern; the order is that of the sentence."""
    subjects: Mapping[str, str]
    said: Mapping[str, str]
    landscape: Mapping[str, str]
    patterns: Mapping[str, str]
    nouns: frozenset[str]
    bare: frozenset[str]
    conjunction: str
    comma: str
    articles: bool
    standing: str


@cache
def wording(language: str) -> Wording:
    """How tags of one language are said in a sentence."""
    table = _read(language, "sentences")
    patterns = dict(table["patterns"])
    return Wording(
        {name: table[name] for name in table["order"]},
        table["subjects"],
        table["said"],
        table["landscape"],
        {name: text for name, text in patterns.items() if isinstance(text, str)},
        frozenset(patterns["nouns"]),
        frozenset(patterns["bare"]),
        table["and"],
        table["comma"],
        table["an_article"],
        table["standing"],
    )


@cache
def grammar_words(name: str) -> frozenset[str]:
    """The single words of a grammar list, in all languages."""
    return frozenset().union(*(grammar(language).words(name) for language in LANGUAGES))


@cache
def grammar_keys(name: str) -> frozenset[Key]:
    """A grammar list in all languages."""
    return frozenset().union(*(grammar(language).keys(name) for language in LANGUAGES))


@cache
def index() -> Mapping[Key, tuple[Term, ...]]:
    """Every way to say a term -> what it says."""
    found: dict[Key, dict[Term, None]] = {}
    for language in LANGUAGES:
        for category in categories(language).values():
            for words, term in _said(category):
                found.setdefault(key_of(words), {})[term] = None
    return {key: tuple(terms) for key, terms in found.items()}


def _said(category: Category) -> Iterable[tuple[str, Term]]:
    vague = category.name == "vague"
    for standard, others in category.terms.items():
        if not vague:
            yield standard, Term(category.name, standard, "standard")
        for other in others:
            role: Role = "vague" if vague else category.roles.get(other, category.synonyms)
            if not vague and _bare(other) == _bare(standard):
                role = "also"  # "reading a book" is "reading book"
            yield other, Term(category.name, standard, role)
    for words in category.also:
        yield words, Term(category.name, words, "also")


def _bare(words: str) -> Key:
    return tuple(word for word in key_of(words) if word not in grammar("en").words("articles"))


def _category(name: str, table: Mapping[str, Any]) -> Category:
    terms: dict[str, tuple[str, ...]] = {}
    english: dict[str, str] = {}
    for standard, entry in table.get("terms", {}).items():
        translated = isinstance(entry, dict)
        terms[standard] = tuple(entry["other"] if translated else entry)
        english[standard] = entry["en"] if translated else standard
    return Category(
        name,
        table["title"],
        table.get("nominal", False),
        table.get("background", False),
        terms,
        tuple(table.get("also", ())),
        english,
        table.get("synonyms", "other"),
        {word: role for role in ("other", "near", "same") for word in table.get(role, ())},
        tuple(table.get("endings", ())),
    )


def _feature(name: str, table: Mapping[str, Any], lists: Mapping[str, list[str]]) -> Feature:
    def keys(part: str) -> frozenset[Key]:
        words: list[str] = []
        for word in table.get(part, ()):
            words += lists[word[1:]] if word.startswith("@") else [word]
        return _keys(words)

    return Feature(
        name,
        table["title"],
        keys("heads"),
        keys("modifiers"),
        keys("phrases"),
        keys("alone"),
        keys("needs"),
        keys("opens"),
        keys("tails"),
        frozenset(table.get("before", ())),
        table.get("keeps_head", False),
        table.get("person", False),
    )


def _keys(words: Iterable[str]) -> frozenset[Key]:
    return frozenset(key_of(word) for word in words)


@cache
def _read_text(language: str, name: str) -> str:
    path = files("loraloom") / "data" / "captions" / language / f"{name}.toml"
    return path.read_text(encoding="utf-8")


def _read(language: str, name: str) -> dict[str, Any]:
    return tomllib.loads(_read_text(language, name))
