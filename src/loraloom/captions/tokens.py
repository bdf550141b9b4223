"""How many tokens of a base's own tokenizer a caption takes, and where it is cut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from loraloom.errors import LoraloomError


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


class Light:
    """What a Counter asks of a tokenizer, out of a tokenizer.json; torch is not started."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.vocab_size = int(tokenizer.get_vocab_size(with_added_tokens=False))

    def __call__(
        self,
        text: str,
        *,
        add_special_tokens: bool,
        verbose: bool,
        return_offsets_mapping: bool = False,
    ) -> Encoded:
        """As transformers' fast tokenizers answer."""
        encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return Encoded(input_ids=encoding.ids, offset_mapping=encoding.offsets)


class Encoded(dict[str, Any]):
    """A text's tokens."""

    @property
    def input_ids(self) -> list[int]:
        """Their ids."""
        found: list[int] = self["input_ids"]
        return found


def light_counter(base: str) -> Counter | None:
    """The counter of an installed base; None where there is no tokenizer.json to read."""
    from loraloom import families, settings

    try:
        folder = settings.resolve_base(base)
        info = families.detect(folder).info
    except LoraloomError:
        return None
    tokenizer = _light(folder / info.limiting_tokenizer / "tokenizer.json")
    return Counter(tokenizer, info.token_limit, info.chunked) if tokenizer else None


@lru_cache(maxsize=4)
def _light(path: Path) -> Light | None:
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001 - the library raises nothing narrower
        return None
    made.no_truncation()
    made.no_padding()
    return Light(made)


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
