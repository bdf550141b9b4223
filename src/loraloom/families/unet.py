"""What the families with Stable Diffusion's UNet share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloom.families.base import Geometry
from loraloom.families.parts import Part

if TYPE_CHECKING:
    from torch import Tensor

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_BLOCKS = (*_ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
_FULL = (*_BLOCKS, "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv")
TARGETS = {"attention": _ATTENTION, "blocks": _BLOCKS, "full": _FULL}

CHECKPOINT: Mapping[str, tuple[int, ...]] = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
}
"""What all checkpoint files of these families have that draw from text alone."""

UNET = Part("unet", ("diffusers.UNet2DConditionModel",))
VAE = Part("vae", ("diffusers.AutoencoderKL",))
FLOAT32_VAE = Part("vae", ("diffusers.AutoencoderKL",), always_float32=True)
"""SDXL's: in float16 it gives NaN."""
CLIP_TOKENIZERS = ("transformers.CLIPTokenizer", "transformers.CLIPTokenizerFast")


def time_ids(pictures: Sequence[Geometry]) -> dict[str, Tensor]:
    """`time_ids` (B, 6): original height, width, crop top, left, target height, width, in pixels.

    Podell et al. 2023, arXiv:2307.01952, section 2.2.
    """
    import torch

    rows = [(*g.original_px, *g.crop_px, *g.target_px) for g in pictures]
    return {"time_ids": torch.tensor(rows, dtype=torch.float32)}


def predict(
    unet: Any, x_t: Tensor, t: Tensor, condition: Mapping[str, Tensor], timesteps: int
) -> Tensor:
    """Epsilon or v, as the base's scheduler says; t = timestep / (timesteps - 1).

    With `time_ids` and `pooled` in the condition, they are SDXL's added conditions.
    """
    added = None
    if "time_ids" in condition:
        added = {"text_embeds": condition["pooled"], "time_ids": condition["time_ids"]}
    output: Tensor = unet(
        x_t,
        (t * (timesteps - 1)).round().long(),
        encoder_hidden_states=condition["context"],
        encoder_attention_mask=condition.get("mask"),
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    return output
