"""FLUX.2 klein of 4 and 9 thousand million weights, with Qwen3 for text.

black-forest-labs/flux2; diffusers' Flux2KleinPipeline is the reference. The denoiser is FLUX.2's,
smaller and without a guidance scale to be told. "Base" is what was trained; the other was made to
draw in four steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.families import flux2
from loraloom.families.base import Condition, Family
from loraloom.families.parts import Part, Parts, read_config, read_model_index
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_TEMPLATE_TOKENS = 12
_LAYERS = (9, 18, 27)
_SMALL_HEADS = 24
"""Attention heads of the denoiser of 4 thousand million weights."""

INFO = replace(
    flux2.INFO,
    id="flux2_klein",
    title="FLUX.2 klein",
    licence="FLUX Non-Commercial License",
    pipeline="Flux2KleinPipeline",
    parts={
        **flux2.INFO.parts,
        "text_encoder": Part("text_encoder", ("transformers.Qwen3ForCausalLM",)),
        "tokenizer": Part(
            "tokenizer", ("transformers.Qwen2Tokenizer", "transformers.Qwen2TokenizerFast")
        ),
    },
    token_limit=flux2.TOKENS - _TEMPLATE_TOKENS,
    negative_prompt=True,
    base_version="flux_2_klein",
    architecture="Flux.2-klein/lora",
    data=read_data("flux2_klein"),
)


class Flux2Klein(Family):
    """See the module."""

    info = INFO

    def variant(self, base: Path) -> str:
        """By the denoiser's width, and whether model_index.json says that it is distilled."""
        small = read_config(base, "transformer").get("num_attention_heads") == _SMALL_HEADS
        made_quick = bool(read_model_index(base).get("is_distilled"))
        return ("4b" if small else "9b") + ("" if made_quick else "-base")

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (512, 7680 or 12288): three layers of the caption in the chat template."""
        texts = [
            parts.tokenizer.apply_chat_template(
                [{"role": "user", "content": caption}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
            for caption in captions
        ]
        given = parts.tokenizer(
            texts,
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=flux2.TOKENS,
        )
        return flux2.states(parts.text_encoder, given, _LAYERS)

    def predict(
        self,
        denoiser: Any,
        x_t: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
        *,
        timesteps: int = 1000,
    ) -> Tensor:
        """noise - x0."""
        return flux2.velocity(denoiser, x_t, t, condition["context"])

    def pipeline_options(self, parts: Parts) -> dict[str, Any]:
        """As model_index.json has it: one that is distilled takes no guidance."""
        return {"is_distilled": bool(parts.options.get("is_distilled"))}


FAMILY = Flux2Klein()
