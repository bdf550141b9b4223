"""HunyuanVideo, the text-to-video model of 13 thousand million weights.

Kong et al. 2024, arXiv:2412.03603; diffusers' HunyuanVideoPipeline is the reference. It pads the
texts and masks the padding everywhere; here they are taken at their length, which is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloom.families import clip, unet
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo, Joined, frame_rule
from loraloom.families.parts import SCHEDULER, Part, Parts
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_TEMPLATE = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following "
    "aspects: 1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the "
    "objects.4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
)
_DROPPED = 95
"""Tokens of the template before the caption, whose states are left out."""
_TOKENS = 256
"""The caption and the one token of the template after it."""
_LAYER = 3
"""From the end: the states after all but the last two layers."""
_TRAINED_GUIDANCE = 1.0
_THOUSANDTHS = 1000
"""The denoiser counts times and guidance in thousandths."""

_ATTENTION = (
    *(f"transformer_blocks.*.attn.{end}" for end in (
        "to_q", "to_k", "to_v", "to_out.0",
        "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    )),
    *(f"single_transformer_blocks.*.attn.{end}" for end in ("to_q", "to_k", "to_v")),
)  # fmt: skip
_BLOCKS = (
    *_ATTENTION,
    *(f"transformer_blocks.*.{side}.net.{end}" for side in ("ff", "ff_context")
      for end in ("0.proj", "2")),
    "single_transformer_blocks.*.proj_mlp",
    "single_transformer_blocks.*.proj_out",
)  # fmt: skip

_DOUBLE, _SINGLE = "transformer_blocks.*", "single_transformer_blocks.*"
DOUBLE_NAMES = {
    "double_blocks.*.img_attn_qkv": tuple(Joined(f"{_DOUBLE}.attn.to_{x}") for x in "qkv"),
    "double_blocks.*.txt_attn_qkv": tuple(Joined(f"{_DOUBLE}.attn.add_{x}_proj") for x in "qkv"),
    "double_blocks.*.img_attn_proj": (Joined(f"{_DOUBLE}.attn.to_out.0"),),
    "double_blocks.*.txt_attn_proj": (Joined(f"{_DOUBLE}.attn.to_add_out"),),
    "double_blocks.*.img_mlp.fc1": (Joined(f"{_DOUBLE}.ff.net.0.proj"),),
    "double_blocks.*.img_mlp.fc2": (Joined(f"{_DOUBLE}.ff.net.2"),),
    "double_blocks.*.txt_mlp.fc1": (Joined(f"{_DOUBLE}.ff_context.net.0.proj"),),
    "double_blocks.*.txt_mlp.fc2": (Joined(f"{_DOUBLE}.ff_context.net.2"),),
    "double_blocks.*.img_mod.linear": (Joined(f"{_DOUBLE}.norm1.linear"),),
    "double_blocks.*.txt_mod.linear": (Joined(f"{_DOUBLE}.norm1_context.linear"),),
}
_OWN_NAMES = {
    **DOUBLE_NAMES,
    "single_blocks.*.linear1": (
        *(Joined(f"{_SINGLE}.attn.to_{x}") for x in "qkv"),
        Joined(f"{_SINGLE}.proj_mlp", ratio=4),
    ),
    "single_blocks.*.linear2": (Joined(f"{_SINGLE}.proj_out"),),
    "single_blocks.*.modulation.linear": (Joined(f"{_SINGLE}.norm.linear"),),
}
"""Of Tencent-Hunyuan/HunyuanVideo, hyvideo/modules/models.py."""

INFO = FamilyInfo(
    id="hunyuan_video",
    title="HunyuanVideo",
    licence="Tencent Hunyuan Community License",
    pipeline="HunyuanVideoPipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.HunyuanVideoTransformer3DModel",)),
        "text_encoder": Part("text_encoder", ("transformers.LlamaModel",)),
        "text_encoder_2": Part("text_encoder_2", ("transformers.CLIPTextModel",)),
        "tokenizer": Part(
            "tokenizer", ("transformers.LlamaTokenizerFast", "transformers.LlamaTokenizer")
        ),
        "tokenizer_2": Part("tokenizer_2", unet.CLIP_TOKENIZERS),
        "vae": Part("vae", ("diffusers.AutoencoderKLHunyuanVideo",)),
        "scheduler": SCHEDULER,
    },
    objective="flow",
    prompt_style="sentences",
    token_limit=_TOKENS - 1,
    context_tokens=_TOKENS,
    negative_prompt=False,
    native_px=960,
    size_multiple_px=16,
    max_aspect=2.0,
    patch=2,
    frames=frame_rule("hunyuan-video"),
    targets={
        "attention": _ATTENTION,
        "blocks": _BLOCKS,
        "full": (*_BLOCKS, "norm1.linear", "norm1_context.linear", "norm.linear"),
    },
    large_texts=True,
    layouts=("diffusers", "comfyui"),
    tiled=True,
    original=_OWN_NAMES,
    base_version="hunyuan_video",
    architecture="hunyuan-video/lora",
    data=read_data("hunyuan_video"),
)


class HunyuanVideo(Family):
    """See the module."""

    info = INFO
    arguments: Mapping[str, str] = {
        "context": "prompt_embeds",
        "pooled": "pooled_prompt_embeds",
        "mask": "prompt_attention_mask",
    }

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (L, 4096) from LLaMA, without the template's first tokens, one at a time;
        `pooled` (768,) from CLIP-L, of its first 77 tokens."""
        pooled = clip.encode(parts.tokenizer_2, parts.text_encoder_2, captions, chunks=1)
        conditions = []
        for caption, one in zip(captions, pooled, strict=True):
            given = parts.tokenizer(
                _TEMPLATE.format(caption),
                max_length=_DROPPED + _TOKENS,
                truncation=True,
                return_tensors="pt",
            ).to(parts.text_encoder.device)
            states = parts.text_encoder(
                input_ids=given.input_ids,
                attention_mask=given.attention_mask,
                output_hidden_states=True,
            ).hidden_states[-_LAYER][0]
            conditions.append(Condition({"context": states[_DROPPED:], "pooled": one.pooled}))
        return conditions

    def collate(self, conditions: Sequence[Condition]) -> dict[str, Tensor]:
        """With a `mask` (B, L) in any case, which the denoiser wants."""
        batch = super().collate(conditions)
        context = batch["context"]
        return {"mask": context.new_ones(context.shape[:2]), **batch}

    def predict(
        self,
        denoiser: Any,
        x_t: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
        *,
        timesteps: int = 1000,
    ) -> Tensor:
        """noise - x0; the denoiser counts t, and the guidance, in thousandths."""
        guidance = t.new_full(t.shape, _TRAINED_GUIDANCE * _THOUSANDTHS)
        output: Tensor = denoiser(
            hidden_states=x_t,
            timestep=t * _THOUSANDTHS,
            encoder_hidden_states=condition["context"],
            encoder_attention_mask=condition["mask"],
            pooled_projections=condition["pooled"],
            guidance=guidance if denoiser.config.guidance_embeds else None,
            return_dict=False,
        )[0]
        return output


FAMILY = HunyuanVideo()
