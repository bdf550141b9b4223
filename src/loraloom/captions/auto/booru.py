"""Danbooru's tags in the words of captions, from data/captions/en/booru.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from loraloom.kinds import read_data

_SHORTEST = 4
_MEANT = re.compile(r"\s*\([^()]*\)$")
"""Which of several things a word means: "mouse (animal)"."""


def in_words(tag: str) -> str:
    """A tag with spaces for underscores, unless its signs are a face: "long_hair", "^_^"."""
    face = tag in read_data("captions/en/booru")["kaomoji"] or (
        len(tag) < _SHORTEST and not tag.isalpha()
    )
    return tag if face else tag.replace("_", " ").strip()


def said(tag: str) -> str:
    """How a tag (with spaces) is said in a caption; empty where it is not."""
    key = tag.casefold()
    if key in _unseen():
        return ""
    if key in read_data("captions/en/booru")["tags"]:
        return str(read_data("captions/en/booru")["tags"][key])
    words: Mapping[str, str] = read_data("captions/en/booru")["words"]
    plain = _MEANT.sub("", tag) or tag
    return " ".join(words.get(word.casefold(), word) for word in plain.split())


@cache
def _unseen() -> frozenset[str]:
    return frozenset(read_data("captions/en/booru")["unseen"])
