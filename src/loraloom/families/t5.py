"""Captions through a T5 encoder, for the families that have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

TOKENIZERS = ("transformers.T5TokenizerFast", "transformers.T5Tokenizer")
ENCODERS = ("transformers.T5EncoderModel",)


def encode(tokenizer: Any, encoder: Any, captions: Sequence[str], length: int) -> Tensor:
    """States (B, length, width). Padding is text to the bases that were trained so: no mask."""
    ids = tokens(tokenizer, captions, length).input_ids
    states: Tensor = encoder(ids.to(encoder.device)).last_hidden_state
    return states


def tokens(tokenizer: Any, captions: Sequence[str], length: int) -> Any:
    """`input_ids` and `attention_mask` (B, length), cut or padded."""
    return tokenizer(
        list(captions), padding="max_length", max_length=length, truncation=True,
        return_tensors="pt",
    )  # fmt: skip
