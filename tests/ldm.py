"""A tiny base's weights under the names of Stability AI's code, as checkpoint files have them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from loraloom.adapters.sgm import to_sgm

_VAE = [
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets\.(\d)", r"up.\1.block.\2"),
    (r"up_blocks\.(\d)\.upsamplers\.0", r"up.\1.upsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_(q|k|v)", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    ("conv_shortcut", "nin_shortcut"),
    ("conv_norm_out", "norm_out"),
]
_OPEN_CLIP = [
    ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"), ("self_attn.out_proj", "attn.out_proj"),
]  # fmt: skip


def unet(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """UNet2DConditionModel's."""
    named = {}
    for name, tensor in weights.items():
        path, _, end = name.rpartition(".")
        inner = re.fullmatch(r"(.*?\.attentions\.\d)\.(.*)", path)
        path = f"{to_sgm(inner[1] + '.proj_in')[:-8]}.{inner[2]}" if inner else to_sgm(path)
        named[f"model.diffusion_model.{path}.{end}"] = tensor
    return named


def vae(weights: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    """AutoencoderKL's; the decoder's levels are counted from the other end."""
    named = {}
    for name, tensor in weights.items():
        path = name
        for ours, theirs in _VAE:
            path = re.sub(ours, theirs, path)
        path = re.sub(r"up\.(\d)", lambda found: f"up.{levels - 1 - int(found[1])}", path)
        attention = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", path)
        named[f"first_stage_model.{path}"] = tensor[:, :, None, None] if attention else tensor
    return named


def clip(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """CLIPTextModel's."""
    return {f"{prefix}text_model.{name.removeprefix('text_model.')}": t
            for name, t in weights.items()}  # fmt: skip


def open_clip(weights: Mapping[str, Tensor], prefix: str, layers: int) -> dict[str, Tensor]:
    """A CLIP text model's in OpenCLIP's names, query, key and value in one."""
    w = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    named = {
        "token_embedding.weight": w["embeddings.token_embedding.weight"],
        "positional_embedding": w["embeddings.position_embedding.weight"],
        "ln_final.weight": w["final_layer_norm.weight"],
        "ln_final.bias": w["final_layer_norm.bias"],
    }
    if "text_projection.weight" in w:
        named["text_projection"] = w["text_projection.weight"].T.contiguous()
    for layer in range(layers):
        ours, theirs = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for end in ("weight", "bias"):
            parts = [w[f"{ours}self_attn.{x}_proj.{end}"] for x in "qkv"]
            named[f"{theirs}attn.in_proj_{end}"] = torch.cat(parts)
            for one, other in _OPEN_CLIP:
                named[f"{theirs}{other}.{end}"] = w[f"{ours}{one}.{end}"]
    return {prefix + name: tensor for name, tensor in named.items()}
