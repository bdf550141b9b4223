"""The kinds of things that an adapter can learn, with the numbers that belong to each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any


class Kind(StrEnum):
    """What the adapter learns."""

    CHARACTER = "character"
    STYLE = "style"
    OBJECT = "object"
    CONCEPT = "concept"
    SCENE = "scene"


@dataclass(frozen=True)
class KindInfo:
    """Set sizes in pictures, and how a base's own pictures are mixed in."""

    title: str
    minimum: int
    recommended_from: int
    recommended_to: int
    maximum: int
    class_words: str
    """What a base calls such a thing, where the trigger does not say."""
    prior_per_image: int
    """Class pictures per training picture; 0 switches prior preservation off."""
    samples: list[str]
    """Prompts of the samples while training; {} is what is learnt."""


@cache
def info(kind: Kind) -> KindInfo:
    """The numbers of one kind, from data/kinds.toml."""
    return KindInfo(**read_data("kinds")[kind.value])


def own_words(trigger: str) -> str:
    """What a trigger says itself that it calls: "ohwx woman" a "woman"; a lone token nothing."""
    return trigger.strip().partition(" ")[2]


def prompts(kind: Kind, subject: str) -> list[str]:
    """What shows how well a subject of the kind is learnt."""
    return [template.format(subject) for template in info(kind).samples]


@cache
def clips() -> KindInfo:
    """The numbers of a set of clips, whatever they show."""
    return KindInfo(**read_data("kinds")["clips"])


@cache
def read_data(name: str) -> dict[str, Any]:
    """One of the package's own TOML files, by its path under data/; never changed."""
    return tomllib.loads((files("loraloom") / "data" / f"{name}.toml").read_text(encoding="utf-8"))
