"""Flux.1 dev and schnell.

black-forest-labs/flux; diffusers' FluxPipeline is the reference. The variant, and whether the
denoiser is told a guidance scale, are read from its config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.families import clip, latents, mmdit, t5, unet
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import SCHEDULER, Part, Parts, read_config
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_T5_TOKENS = 512
_TRAINED_GUIDANCE = 1.0
"""Guidance while training: what the pictures are without any."""

INFO = FamilyInfo(
    id="flux",
    title="FLUX.1",
    licence="FLUX.1 [dev] Non-Commercial License",
    pipeline="FluxPipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.FluxTransformer2DModel",)),
        "text_encoder": Part("text_encoder", ("transformers.CLIPTextModel",)),
        "text_encoder_2": Part("text_encoder_2", t5.ENCODERS),
        "tokenizer": Part("tokenizer", unet.CLIP_TOKENIZERS),
        "tokenizer_2": Part("tokenizer_2", t5.TOKENIZERS),
        "vae": unet.VAE,
        "scheduler": SCHEDULER,
    },
    objective="flow",
    prompt_style="sentences",
    token_limit=_T5_TOKENS - 1,
    context_tokens=_T5_TOKENS,
    limiting_tokenizer="tokenizer_2",
    negative_prompt=False,
    native_px=1024,
    size_multiple_px=64,
    max_aspect=2.0,
    patch=2,
    packed=True,
    targets=mmdit.targets(
        feed_forward=(*mmdit.FEED_FORWARD, "proj_mlp", "single_transformer_blocks.*.proj_out"),
        full=("norm1.linear", "norm1_context.linear", "norm.linear"),
    ),
    trained_encoders=("text_encoder",),
    large_texts=True,
    layouts=("diffusers",),
    base_version="flux1",
    architecture="flux-1-dev/lora",
    original=mmdit.ORIGINAL,
    data=read_data("flux"),
)


class Flux(Family):
    """See the module."""

    info = INFO

    def variant(self, base: Path) -> str:
        """Schnell takes no guidance scale."""
        return "dev" if read_config(base, "transformer").get("guidance_embeds") else "schnell"

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (512, 4096) from T5; `pooled` (768,) from CLIP-L, of its first 77 tokens."""
        first = clip.encode(parts.tokenizer, parts.text_encoder, captions, chunks=1)
        texts = t5.encode(parts.tokenizer_2, parts.text_encoder_2, captions, _T5_TOKENS)
        return [
            Condition({"context": text, "pooled": one.pooled})
            for one, text in zip(first, texts, strict=True)
        ]

    def predict(
        self,
        denoiser: Any,
        x_t: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
        *,
        timesteps: int = 1000,
    ) -> Tensor:
        """noise - x0, on tokens of 2 x 2 latent pixels; the denoiser counts t as it is."""
        height, width = x_t.shape[-2:]
        guided = denoiser.config.guidance_embeds
        output = denoiser(
            hidden_states=latents.pack(x_t),
            timestep=t,
            guidance=t.new_full(t.shape, _TRAINED_GUIDANCE) if guided else None,
            encoder_hidden_states=condition["context"],
            pooled_projections=condition["pooled"],
            txt_ids=x_t.new_zeros(condition["context"].shape[1], 3),
            img_ids=mmdit.positions(height // 2, width // 2).to(x_t),
            return_dict=False,
        )[0]
        return latents.unpack(output, height, width)


FAMILY = Flux()
