"""Danbooru's tags in the words of captions, from data/captions/en/booru.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

_SHORTEST = 4
_MEANT = re.compile(r"\s*\([^()]*\)$")
"""Which of several things a word means: "mouse (animal)"."""


def in_words(tag: str) -> str:
    """A tag with spaces for underscores, unless its signs are a face: "long_hair", "^_^"."""
    face = tag in _tables()["kaomoji"] or (len(tag) < _SHORTEST and not tag.isalpha())
    return tag if face else tag.replace("_", " ").strip()


def said(tag: str) -> str:
    """How a tag (with spaces) is said in a caption; empty where it is not."""
    key = tag.casefold()
    if key in _unseen():
        return ""
    if key in _tables()["tags"]:
        return str(_tables()["tags"][key])
    words: Mapping[str, str] = _tables()["words"]
    plain = _MEANT.sub("", tag) or tag
    return " ".join(words.get(word.casefold(), word) for word in plain.split())


@cache
def _unseen() -> frozenset[str]:
    return frozenset(_tables()["unseen"])


@cache
def _tables() -> dict[str, Any]:
    path = files("loraloom") / "data" / "captions" / "en" / "booru.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
