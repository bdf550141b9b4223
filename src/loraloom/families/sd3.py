"""Stable Diffusion 3 and 3.5, medium and large.

Esser et al. 2024, arXiv:2403.03206; diffusers' StableDiffusion3Pipeline is the reference. CLIP's
tokens and T5's stand one after the other; CLIP's are cut at 77, T5's at 256, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloom.families import clip, mmdit, t5, unet
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import SCHEDULER, Part, Parts
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_CLIP = ("transformers.CLIPTextModelWithProjection",)
_CLIP_TOKENS = 77
_T5_TOKENS = 256

INFO = FamilyInfo(
    id="sd3",
    title="Stable Diffusion 3.5",
    licence="Stability AI Community License",
    pipeline="StableDiffusion3Pipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.SD3Transformer2DModel",)),
        "text_encoder": Part("text_encoder", _CLIP),
        "text_encoder_2": Part("text_encoder_2", _CLIP),
        "text_encoder_3": Part("text_encoder_3", t5.ENCODERS),
        "tokenizer": Part("tokenizer", unet.CLIP_TOKENIZERS),
        "tokenizer_2": Part("tokenizer_2", unet.CLIP_TOKENIZERS),
        "tokenizer_3": Part("tokenizer_3", t5.TOKENIZERS),
        "vae": unet.VAE,
        "scheduler": SCHEDULER,
    },
    objective="flow",
    prompt_style="sentences",
    token_limit=_T5_TOKENS - 1,
    context_tokens=_CLIP_TOKENS + _T5_TOKENS,
    limiting_tokenizer="tokenizer_3",
    negative_prompt=True,
    native_px=1024,
    size_multiple_px=64,
    max_aspect=2.0,
    patch=2,
    targets=mmdit.targets(full=("norm1.linear", "norm1_context.linear")),
    trained_encoders=("text_encoder", "text_encoder_2"),
    large_texts=True,
    layouts=("diffusers",),
    base_version="sd3",
    architecture="stable-diffusion-3/lora",
    data=read_data("sd3"),
)


class StableDiffusion3(Family):
    """See the module."""

    info = INFO

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (77 + 256, 4096): CLIP-L beside CLIP-G, then zeros up to T5's width, then T5;
        `pooled` (768 + 1280,)."""
        import torch
        from torch.nn.functional import pad

        first = clip.encode(parts.tokenizer, parts.text_encoder, captions, layer=1, chunks=1)
        second = clip.encode(parts.tokenizer_2, parts.text_encoder_2, captions, layer=1, chunks=1)
        texts = t5.encode(parts.tokenizer_3, parts.text_encoder_3, captions, _T5_TOKENS)
        conditions = []
        for one, two, text in zip(first, second, texts, strict=True):
            states = torch.cat([one.states, two.states], dim=-1)
            states = pad(states, (0, text.shape[-1] - states.shape[-1]))
            pooled = torch.cat([one.pooled, two.pooled])
            conditions.append(Condition({"context": torch.cat([states, text]), "pooled": pooled}))
        return conditions

    def predict(
        self,
        denoiser: Any,
        x_t: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
        *,
        timesteps: int = 1000,
    ) -> Tensor:
        """noise - x0; the denoiser counts t in thousandths."""
        output: Tensor = denoiser(
            hidden_states=x_t,
            timestep=t * timesteps,
            encoder_hidden_states=condition["context"],
            pooled_projections=condition["pooled"],
            return_dict=False,
        )[0]
        return output


FAMILY = StableDiffusion3()
