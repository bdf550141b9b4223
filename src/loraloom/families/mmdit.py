"""What the families share whose denoiser is a transformer over pictures and text together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loraloom.families.info import Joined

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = (
    "to_q", "to_k", "to_v", "to_out.0",
    "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
)  # fmt: skip
FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")

_STREAMS = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
}
_SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
_RATIOS = {
    "ff.net.0.proj": 4, "ff_context.net.0.proj": 4, "proj_mlp": 4,
    "ff.net.2": 1 / 4, "ff_context.net.2": 1 / 4, "proj_out": 1 / 5,
    "norm1.linear": 6, "norm1_context.linear": 6, "norm.linear": 3,
}  # fmt: skip
ORIGINAL = {
    **{
        f"double_blocks.*.{theirs}": tuple(
            Joined(f"transformer_blocks.*.{path}", _RATIOS.get(path, 1)) for path in ours
        )
        for theirs, ours in _STREAMS.items()
    },
    **{
        f"single_blocks.*.{theirs}": tuple(
            Joined(f"single_transformer_blocks.*.{path}", _RATIOS.get(path, 1)) for path in ours
        )
        for theirs, ours in _SINGLE.items()
    },
}
"""FLUX.1's modules in black-forest-labs/flux, which kohya's files go by too, and in diffusers."""


def targets(
    *,
    attention: tuple[str, ...] = (),
    feed_forward: tuple[str, ...] = FEED_FORWARD,
    full: tuple[str, ...],
) -> dict[str, tuple[str, ...]]:
    """Attention with the added text stream; the feed-forward layers too; the modulation too."""
    first = (*_ATTENTION, *attention)
    blocks = (*first, *feed_forward)
    return {"attention": first, "blocks": blocks, "full": (*blocks, *full)}


def positions(rows: int, columns: int) -> Tensor:
    """(rows x columns, 3): 0, row and column of each token, as FLUX.1 counts them."""
    import torch

    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1)
