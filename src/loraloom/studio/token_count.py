"""Tokens of a caption for an installed base, counted without starting torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from loraloom import families, settings
from loraloom.errors import LoraloomError


@dataclass(frozen=True)
class Tokens:
    """How many tokens a caption has, and how many the base reads at once."""

    count: int
    limit: int
    chunked: bool
    """Whether what is past the limit is read in further chunks, or cut off."""


def count_tokens(base: str, caption: str) -> Tokens | None:
    """None where the base is not installed, or its tokenizer is of another kind."""
    try:
        folder = settings.resolve_base(base)
        family = families.detect(folder).info
    except LoraloomError:
        return None
    tokenizer = _tokenizer(folder / family.limiting_tokenizer / "tokenizer.json")
    if tokenizer is None:
        return None
    ids = tokenizer.encode(caption, add_special_tokens=False).ids
    return Tokens(len(ids), family.token_limit, family.chunked)


@lru_cache(maxsize=4)
def _tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001 - the library raises nothing narrower
        return None
    made.no_truncation()
    made.no_padding()
    return made
