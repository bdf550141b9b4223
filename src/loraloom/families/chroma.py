"""Chroma: FLUX.1 schnell made smaller, without CLIP and without a guidance scale to be told.

lodestones/Chroma; diffusers' ChromaPipeline is the reference. Of the padding after a caption only
the first token is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loraloom.families import latents, mmdit, t5, unet
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import SCHEDULER, Part, Parts
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_T5_TOKENS = 512

INFO = FamilyInfo(
    id="chroma",
    title="Chroma",
    licence="Apache-2.0",
    pipeline="ChromaPipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.ChromaTransformer2DModel",)),
        "text_encoder": Part("text_encoder", t5.ENCODERS),
        "tokenizer": Part("tokenizer", t5.TOKENIZERS),
        "vae": unet.VAE,
        "scheduler": SCHEDULER,
    },
    objective="flow",
    prompt_style="sentences",
    token_limit=_T5_TOKENS - 1,
    context_tokens=_T5_TOKENS,
    negative_prompt=True,
    native_px=1024,
    size_multiple_px=64,
    max_aspect=2.0,
    patch=2,
    packed=True,
    targets=mmdit.targets(
        feed_forward=(*mmdit.FEED_FORWARD, "proj_mlp", "single_transformer_blocks.*.proj_out"),
        full=("context_embedder", "x_embedder"),
    ),
    large_texts=True,
    layouts=("diffusers",),
    base_version="chroma",
    architecture="chroma/lora",
    original=mmdit.ORIGINAL,
    data=read_data("chroma"),
)


class Chroma(Family):
    """See the module."""

    info = INFO
    arguments = MappingProxyType({"context": "prompt_embeds", "mask": "prompt_attention_mask"})

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (512, 4096), and `mask` (512,): 1 for the text and one token more."""
        import torch

        given = t5.tokens(parts.tokenizer, captions, _T5_TOKENS).to(parts.text_encoder.device)
        states = parts.text_encoder(
            given.input_ids, attention_mask=given.attention_mask
        ).last_hidden_state
        place = torch.arange(_T5_TOKENS, device=states.device)
        masks = (place <= given.attention_mask.sum(1, keepdim=True)).to(states.dtype)
        return [
            Condition({"context": context, "mask": mask})
            for context, mask in zip(states, masks, strict=True)
        ]

    def text_shapes(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """With `mask`, which its denoiser always takes."""
        shapes = super().text_shapes(config)
        return {**shapes, "mask": shapes["context"][:1]}

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
        import torch

        height, width = x_t.shape[-2:]
        tokens, mask = latents.pack(x_t), condition["mask"]
        output = denoiser(
            hidden_states=tokens,
            timestep=t,
            encoder_hidden_states=condition["context"],
            txt_ids=x_t.new_zeros(condition["context"].shape[1], 3),
            img_ids=mmdit.positions(height // 2, width // 2).to(x_t),
            attention_mask=torch.cat([mask, mask.new_ones(tokens.shape[:2])], dim=1),
            return_dict=False,
        )[0]
        return latents.unpack(output, height, width)


FAMILY = Chroma()
