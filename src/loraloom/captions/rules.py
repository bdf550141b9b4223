"""What each kind's captions say and leave out, from data/captions/rules.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from loraloom.errors import BaseUnknown
from loraloom.kinds import Kind, read_data

Style = Literal["tags", "hybrid", "sentences"]


@dataclass(frozen=True)
class KindRules:
    """The rules of one kind."""

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    """Features (data/captions/*/features.toml) that stay out, because the adapter learns them."""
    leak_code: str
    required: tuple[str, ...]
    required_video: tuple[str, ...]
    least_phrases: int
    least_words: int
    strict: bool
    """A near synonym is told in a single caption; otherwise only what a set mixes."""


@dataclass(frozen=True)
class Limits:
    """Where a caption is too long, a set too uniform, a token too common."""

    tags_words: int
    sentences_words: int
    tags_phrase_words: int
    sentences_phrase_words: int
    loose_words: int
    filler_words: int
    chinese_factor: float
    same_clothing_share: float
    same_clothing_least: int
    several_hairstyles: int
    several_hairstyles_share: float
    rare_from_share: float
    vocabulary_least: int


@dataclass(frozen=True)
class BaseStyle:
    """How a base wants its captions."""

    title: str
    style: Style
    video: bool


def of(kind: Kind) -> KindRules:
    """The rules of one kind."""
    table = read_data("captions/rules")[kind.value]
    return KindRules(**{name: _frozen(value) for name, value in table.items()})


@cache
def limits() -> Limits:
    """The limits."""
    return Limits(**read_data("captions/rules")["limits"])


def assumptions(language: str) -> Mapping[str, str]:
    """Category -> the neutral term that a fix writes when nobody said."""
    table: dict[str, str] = read_data("captions/rules")["assume"][language]
    return table


def fill_order(kind: Kind) -> tuple[str, ...]:
    """The categories that a fix adds to a caption that is too brief, in this order."""
    return tuple(read_data("captions/rules")["fill"][kind.value])


@cache
def hides() -> Mapping[str, frozenset[str]]:
    """Category -> standard terms that tell that it cannot be seen."""
    found: dict[str, set[str]] = {}
    for table in read_data("captions/rules")["hides"].values():
        for category, terms in table.items():
            found.setdefault(category, set()).update(terms)
    return {category: frozenset(terms) for category, terms in found.items()}


def category_order() -> tuple[str, ...]:
    """The order in which a caption says things."""
    return tuple(read_data("captions/rules")["order"]["categories"])


def same_terms() -> tuple[tuple[str, ...], ...]:
    """Groups of terms of which a set uses one."""
    return tuple(tuple(group) for group in read_data("captions/rules")["mixed"]["groups"])


def base_style(base: str) -> BaseStyle:
    """How the base wants its captions: a name from the table, or a folder of a known family.

    Raises BaseUnknown.
    """
    name = base.casefold().strip().replace("_", "-")
    for row in read_data("captions/rules")["base"]:
        known = [row["title"].casefold(), *row["names"]]
        if name in known or name.replace("-", " ") in known:
            return BaseStyle(row["title"], row["style"], row.get("video", False))
    from loraloom import families, settings

    for info in families.all_infos():
        if info.id == base:
            return BaseStyle(info.title, info.prompt_style, info.frames is not None)
    try:
        profile = families.detect(base).profile(settings.resolve_base(base))
    except BaseUnknown as error:
        names = ", ".join(row["names"][0] for row in read_data("captions/rules")["base"])
        raise BaseUnknown(f"{error} For the caption style alone, name one of {names}.") from error
    return BaseStyle(profile.family, profile.prompt_style or "hybrid", profile.frames is not None)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
