"""How many tokens of a base's own tokenizer a caption takes, and where it is cut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Count:
    """The tokens of one caption."""

    tokens: int
    limit: int
    chunks: int
    """How many pieces of `limit` tokens trainers with chunks of 75 make of it."""
    cut_at: int | None
    """The character at which what is past the first `limit` tokens begins; None where all fits."""


@dataclass(frozen=True)
class Counter:
    """A tokenizer with its limit, start and end tokens not counted."""

    tokenizer: Any
    limit: int
    chunked: bool
    """Whether longer captions go on in further chunks (as CLIP bases train) or are cut."""

    @property
    def vocabulary_size(self) -> int:
        return int(self.tokenizer.vocab_size)

    def ids(self, text: str) -> list[int]:
        """The token ids of `text`."""
        found = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return [int(token) for token in found]

    def count(self, text: str) -> Count:
        """Count `text`, and find where the tokens past the limit begin."""
        ids = self.ids(text)
        chunks = max(1, -(-len(ids) // self.limit))
        cut_at = self._cut_at(text) if len(ids) > self.limit else None
        return Count(len(ids), self.limit, chunks, cut_at)

    def _cut_at(self, text: str) -> int:
        if not getattr(self.tokenizer, "is_fast", True):  # it does not tell where a token stood
            return bisect_right(
                range(len(text)), self.limit, key=lambda end: len(self.ids(text[: end + 1]))
            )
        encoded: Mapping[str, Any] = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        return int(encoded["offset_mapping"][self.limit][0])


def counter(base: str) -> Counter:
    """The counter of a base given by name or folder. Raises BaseUnknown."""
    from loraloom import families
    from loraloom.families.parts import PartName
    from loraloom.settings import resolve_base

    family = families.detect(base)
    info = family.info
    only: list[PartName] = [info.limiting_tokenizer]
    parts = family.load(resolve_base(base), only=only)
    return Counter(getattr(parts, info.limiting_tokenizer), info.token_limit, info.chunked)
