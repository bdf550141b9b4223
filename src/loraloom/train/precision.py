"""Where and in which number format a run computes."""

from __future__ import annotations

from typing import Literal

import torch

from loraloom.config import AdapterType


def choose_device() -> str:
    """The GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def choose_dtype(
    precision: Literal["auto", "float32", "bfloat16"], device: str, adapter: AdapterType = "lora"
) -> torch.dtype:
    """The dtype of the frozen base; auto is bfloat16 where the machine multiplies it natively.

    But on a CPU it is float32 for types that turn a layer's inputs: what a small turn changes is
    lost where they are rounded to bfloat16. On a GPU large bases would take twice the memory.
    """
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device == "cpu" and adapter in ("oft", "boft"):
        return torch.float32
    if device == "cuda":
        native = torch.cuda.is_bf16_supported()
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def name_of(dtype: torch.dtype) -> str:
    """ "bfloat16" or "float32"."""
    return str(dtype).removeprefix("torch.")


def autocast(device: str, dtype: torch.dtype) -> torch.autocast:
    """Lets the float32 adapter meet the base in its own dtype; does nothing in float32."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
