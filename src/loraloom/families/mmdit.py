"""What the families share whose denoiser is a transformer over pictures and text together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = (
    "to_q", "to_k", "to_v", "to_out.0",
    "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
)  # fmt: skip
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")


def targets(
    *, feed_forward: tuple[str, ...] = FEED_FORWARD, full: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Attention with the added text stream; the feed-forward layers too; the modulation too."""
    blocks = (*_ATTENTION, *feed_forward)
    return {"attention": _ATTENTION, "blocks": blocks, "full": (*blocks, *full)}


def positions(rows: int, columns: int) -> Tensor:
    """(rows x columns, 3): 0, row and column of each token, as FLUX.1 counts them."""
    import torch

    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1)
