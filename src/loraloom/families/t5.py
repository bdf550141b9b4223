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
    ids = tokenizer(
        list(captions), padding="max_length", max_length=length, truncation=True,
        return_tensors="pt",
    ).input_ids  # fmt: skip
    states: Tensor = encoder(ids.to(encoder.device)).last_hidden_state
    return states
