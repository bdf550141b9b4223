"""Tokens of a caption for an installed base, counted without starting torch."""

from __future__ import annotations

from dataclasses import dataclass

from loraloom.captions.tokens import light_counter


@dataclass(frozen=True)
class Tokens:
    """How many tokens a caption has, and how many the base reads at once."""

    count: int
    limit: int
    chunked: bool
    """Whether what is past the limit is read in further chunks, or cut off."""


def count_tokens(base: str, caption: str) -> Tokens | None:
    """None where the base is not installed, or its tokenizer is of another kind."""
    counter = light_counter(base)
    if counter is None:
        return None
    return Tokens(len(counter.ids(caption)), counter.limit, counter.chunked)
