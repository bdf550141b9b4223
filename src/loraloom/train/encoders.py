"""Models with an adapter as shapes only, and what text encoders that are trained keep."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from loraloom.config import AdapterConfig
from loraloom.train import footprint, lora
from loraloom.train.streams import stream


def insert(model: nn.Module, adapter: AdapterConfig, targets: Iterable[str]) -> int:
    """Put an adapter into a model on the meta device, in the model's number format, as autocast
    has it in each product; returns how many weights it trains."""
    dtype = next(model.parameters()).dtype
    with torch.device("meta"), footprint.Unset():
        injected = lora.inject(model, adapter, targets, stream(0))
    for weight in injected.trained.values():
        weight.data = weight.data.to(dtype)
    return sum(weight.numel() for weight in injected.trained.values())


def kept_bytes(encoder: Any, captions: int, dtype: torch.dtype, *, gpu: bool) -> int:
    """What so many captions of full length, or as many chunks, keep for the way back."""
    length = encoder.config.max_position_embeddings
    tokens = torch.zeros(captions, length, dtype=torch.long, device="meta")
    ledger = footprint.Ledger.of(encoder)
    with ledger.keeping(), footprint.AsTrained(dtype, gpu):
        encoder(input_ids=tokens, output_hidden_states=True)
    return ledger.kept_bytes
