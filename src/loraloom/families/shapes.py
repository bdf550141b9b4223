"""Shapes of what a denoiser takes, as diffusers' configs name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CONTEXT = (
    "encoder_hid_dim", "cross_attention_dim", "joint_attention_dim", "cap_feat_dim", "text_dim",
    "text_embed_dim",
)  # fmt: skip
"""Names of the width of the text, the first that a config has."""


def text_shapes(tokens: int, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """`context` (L, width), and `pooled` (width,) where the denoiser takes one."""
    widths = (config.get(name) for name in _CONTEXT)
    shapes: dict[str, tuple[int, ...]] = {
        "context": (tokens, next(width for width in widths if width))
    }
    pooled = config.get("pooled_projection_dim")
    added = config.get("projection_class_embeddings_input_dim")
    if pooled is None and added is not None:
        # Six numbers of the picture's size are embedded beside it.
        pooled = added - 6 * config["addition_time_embed_dim"]
    return shapes if pooled is None else {**shapes, "pooled": (pooled,)}
