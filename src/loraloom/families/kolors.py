"""Kolors: SDXL's UNet with ChatGLM3 for text, in Chinese and English.

Kwai-Kolors/Kolors; diffusers' KolorsPipeline is the reference. Its schedule has 1100 steps and
ends at beta .014, which the base's scheduler says itself. Its adapters keep diffusers' names of the
UNet's modules in kohya's layout too: KolorsPipeline knows no others, and ComfyUI and A1111 both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloom.families import unet
from loraloom.families.base import Condition, Family, Geometry
from loraloom.families.info import FamilyInfo, KohyaNames
from loraloom.families.parts import SCHEDULER, Part, Parts
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_TOKENS = 256
_MODULE = "diffusers.pipelines.kolors"

INFO = FamilyInfo(
    id="kolors",
    title="Kolors",
    licence="Apache-2.0; weights: Kwai-Kolors Model License",
    pipeline="KolorsPipeline",
    parts={
        "denoiser": unet.UNET,
        "text_encoder": Part("text_encoder", (f"{_MODULE}.ChatGLMModel",)),
        "tokenizer": Part("tokenizer", (f"{_MODULE}.ChatGLMTokenizer",)),
        "vae": unet.FLOAT32_VAE,
        "scheduler": SCHEDULER,
    },
    objective="discrete",
    prompt_style="hybrid",
    token_limit=_TOKENS - 2,
    context_tokens=_TOKENS,
    negative_prompt=True,
    native_px=1024,
    size_multiple_px=64,
    max_aspect=2.0,
    targets=unet.TARGETS,
    large_texts=True,
    layouts=("kohya", "diffusers"),
    kohya=KohyaNames({"unet": "lora_unet_"}),
    base_version="kolors",
    architecture="kolors/lora",
    data=read_data("kolors"),
)


class Kolors(Family):
    """See the module."""

    info = INFO

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (256, 4096) of the layer before the last, padded on the left, where positions
        stay 0; `pooled` (4096,), the last token's state of the last layer."""
        given = parts.tokenizer(
            list(captions), padding="max_length", max_length=_TOKENS, truncation=True,
            return_tensors="pt",
        ).to(parts.text_encoder.device)  # fmt: skip
        states = parts.text_encoder(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            position_ids=given["position_ids"],
            output_hidden_states=True,
        ).hidden_states  # (256, B, 4096) each
        return [
            Condition({"context": states[-2][:, row], "pooled": states[-1][-1, row]})
            for row in range(len(captions))
        ]

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
        """Epsilon; t = timestep / (timesteps - 1)."""
        return unet.predict(denoiser, x_t, t, condition, timesteps)


FAMILY = Kolors()
