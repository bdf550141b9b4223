"""Z-Image, and its Turbo, with Qwen3 for text.

Tongyi-MAI/Z-Image; diffusers' ZImagePipeline is the reference. The denoiser counts the time from
noise, 0, to the picture, 1, and what it gives is x0 - noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloom.families import unet
from loraloom.families.base import Condition, Embeds, Family
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import SCHEDULER, Part, Parts
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_TOKENS = 512
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_BLOCKS = (*_ATTENTION, "feed_forward.w1", "feed_forward.w2", "feed_forward.w3")

INFO = FamilyInfo(
    id="z_image",
    title="Z-Image",
    licence="Apache-2.0",
    pipeline="ZImagePipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.ZImageTransformer2DModel",)),
        "text_encoder": Part("text_encoder", ("transformers.Qwen3Model",)),
        "tokenizer": Part(
            "tokenizer", ("transformers.Qwen2Tokenizer", "transformers.Qwen2TokenizerFast")
        ),
        "vae": unet.VAE,
        "scheduler": SCHEDULER,
    },
    objective="flow",
    prompt_style="sentences",
    token_limit=_TOKENS - 8,
    context_tokens=_TOKENS,
    negative_prompt=True,
    native_px=1024,
    size_multiple_px=64,
    max_aspect=2.0,
    patch=2,
    targets={
        "attention": _ATTENTION,
        "blocks": _BLOCKS,
        "full": (*_BLOCKS, "layers.*.adaLN_modulation.0", "noise_refiner.*.adaLN_modulation.0"),
    },
    large_texts=True,
    layouts=("comfyui", "diffusers"),
    base_version="z_image",
    architecture="z-image/lora",
    data=read_data("z_image"),
)


class ZImage(Family):
    """See the module."""

    info = INFO

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (L, 2560) of the layer before the last, with the chat template around the
        caption; one at a time, so that nothing is padded."""
        conditions = []
        for caption in captions:
            text = parts.tokenizer.apply_chat_template(
                [{"role": "user", "content": caption}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=True,
            )
            given = parts.tokenizer(text, max_length=_TOKENS, truncation=True, return_tensors="pt")
            states = parts.text_encoder(
                input_ids=given.input_ids.to(parts.text_encoder.device), output_hidden_states=True
            ).hidden_states
            conditions.append(Condition({"context": states[-2][0]}))
        return conditions

    def prompt_embeds(
        self,
        parts: Parts,
        prompts: Sequence[str],
        negatives: Sequence[str],
        *,
        clip_skip: int = 0,
    ) -> Embeds:
        """Lists, one text each, of any length."""
        texts = [c.tensors["context"] for c in self.encode_text(parts, [*prompts, *negatives])]
        count = len(prompts)
        return {"prompt_embeds": texts[:count], "negative_prompt_embeds": texts[count:]}

    def predict(
        self,
        denoiser: Any,
        x_t: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
        *,
        timesteps: int = 1000,
    ) -> Tensor:
        """noise - x0; pictures and texts go in as lists, the texts without padding."""
        import torch

        texts = list(condition["context"])
        if "mask" in condition:
            masks = condition["mask"].bool()
            texts = [text[mask] for text, mask in zip(texts, masks, strict=True)]
        pictures = list(x_t.unsqueeze(2))  # (C, 1, h, w) each
        output = denoiser(pictures, 1 - t, texts, return_dict=False)[0]
        return -torch.stack(output).squeeze(2)


FAMILY = ZImage()
