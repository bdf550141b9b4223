"""Stable Diffusion XL, with Pony, Illustrious, NoobAI and their like as data.

Podell et al. 2023, arXiv:2307.01952; diffusers' StableDiffusionXLPipeline is the reference.
Text is always taken one layer before the last: what A1111 and Pony's card call clip skip 2 is
`clip_skip = 0` here, and each further layer counts from there, as in diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloom.families import clip, unet
from loraloom.families.base import Condition, Embeds, Family, Geometry
from loraloom.families.info import FamilyInfo, KohyaNames
from loraloom.families.parts import SCHEDULER, Part, Parts
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

INFO = FamilyInfo(
    id="sdxl",
    title="Stable Diffusion XL",
    licence="CreativeML Open RAIL++-M",
    pipeline="StableDiffusionXLPipeline",
    parts={
        "denoiser": unet.UNET,
        "text_encoder": Part("text_encoder", ("transformers.CLIPTextModel",)),
        "text_encoder_2": Part("text_encoder_2", ("transformers.CLIPTextModelWithProjection",)),
        "tokenizer": Part("tokenizer", unet.CLIP_TOKENIZERS),
        "tokenizer_2": Part("tokenizer_2", unet.CLIP_TOKENIZERS),
        "vae": unet.FLOAT32_VAE,
        "scheduler": SCHEDULER,
    },
    objective="discrete",
    prompt_style="hybrid",
    token_limit=75,
    context_tokens=77,
    chunked=True,
    clip_skip=True,
    negative_prompt=True,
    context_width=2048,
    native_px=1024,
    size_multiple_px=64,
    max_aspect=2.0,
    targets=unet.TARGETS,
    trained_encoders=("text_encoder", "text_encoder_2"),
    layouts=("kohya", "diffusers"),
    checkpoint={
        **unet.CHECKPOINT,
        "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
        "conditioner.embedders.1.model.ln_final.weight": (1280,),
    },
    kohya=KohyaNames(
        {
            "unet": "lora_unet_",
            "text_encoder": "lora_te1_text_model_",
            "text_encoder_2": "lora_te2_text_model_",
        },
        sgm=True,
    ),
    base_version="sdxl_base_v1-0",
    architecture="stable-diffusion-xl-v1-base/lora",
    data=read_data("sdxl"),
)


class StableDiffusionXl(Family):
    """See the module."""

    info = INFO

    def pipeline_options(self, parts: Parts) -> dict[str, Any]:
        """No watermark; and what the base says of empty prompts."""
        zeros = parts.options.get("force_zeros_for_empty_prompt", True)
        return {"force_zeros_for_empty_prompt": zeros, "add_watermarker": False}

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (77 n, 768 + 1280), both encoders side by side, and `pooled` (1280,).

        `pooled` is of the first chunk of a long caption, as in ComfyUI and sd-scripts.
        """
        layer = 1 + clip_skip
        clip.check_layers(parts.text_encoder, layer)
        clip.check_layers(parts.text_encoder_2, layer)
        first = clip.encode(parts.tokenizer, parts.text_encoder, captions, layer=layer)
        second = clip.encode(parts.tokenizer_2, parts.text_encoder_2, captions, layer=layer)
        return [clip.side_by_side(one, two) for one, two in zip(first, second, strict=True)]

    def level(
        self, parts: Parts, conditions: Sequence[Condition], *, clip_skip: int
    ) -> Sequence[Condition]:
        """Shorter texts go on with chunks of the empty caption."""
        return clip.level(conditions, self.encode_text(parts, [""], clip_skip=clip_skip)[0])

    def prompt_embeds(
        self,
        parts: Parts,
        prompts: Sequence[str],
        negatives: Sequence[str],
        *,
        clip_skip: int = 0,
    ) -> Embeds:
        """As for every family; no negative prompt is zeros where the base was trained so."""
        embeds = super().prompt_embeds(parts, prompts, negatives, clip_skip=clip_skip)
        if parts.options.get("force_zeros_for_empty_prompt"):
            for row, negative in enumerate(negatives):
                if not negative:
                    for name in ("negative_prompt_embeds", "negative_pooled_prompt_embeds"):
                        embeds[name][row] *= 0
        return embeds

    def geometry(self, pictures: Sequence[Geometry]) -> dict[str, Tensor]:
        """`time_ids` (B, 6)."""
        return unet.time_ids(pictures)

    def predict(
        self,
        denoiser: Any,
        x_t: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
        *,
        timesteps: int = 1000,
    ) -> Tensor:
        """Epsilon or v, as the base's scheduler says; t = timestep / (timesteps - 1)."""
        return unet.predict(denoiser, x_t, t, condition, timesteps)


FAMILY = StableDiffusionXl()
