"""Stable Diffusion 1.x, and every base of its shape: a UNet and one CLIP text encoder.

Rombach et al. 2022, arXiv:2112.10752; diffusers' StableDiffusionPipeline is the reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.families import clip, unet
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo, KohyaNames
from loraloom.families.parts import SCHEDULER, Part, PartName, Parts, read_config
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

PARTS: Mapping[PartName, Part] = {
    "denoiser": unet.UNET,
    "text_encoder": Part("text_encoder", ("transformers.CLIPTextModel",)),
    "tokenizer": Part("tokenizer", unet.CLIP_TOKENIZERS),
    "vae": unet.VAE,
    "scheduler": SCHEDULER,
}
SD2_TEXT_WIDTH = 1024

INFO = FamilyInfo(
    id="sd15",
    title="Stable Diffusion 1.5",
    licence="CreativeML Open RAIL-M",
    pipeline="StableDiffusionPipeline",
    parts=PARTS,
    objective="discrete",
    prompt_style="tags",
    token_limit=75,
    context_tokens=77,
    chunked=True,
    clip_skip=True,
    negative_prompt=True,
    context_width=768,
    native_px=512,
    size_multiple_px=64,
    max_aspect=2.0,
    targets=unet.TARGETS,
    trained_encoders=("text_encoder",),
    layouts=("kohya", "diffusers"),
    checkpoint={
        **unet.CHECKPOINT,
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,),
    },
    kohya=KohyaNames({"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}),
    base_version="sd_v1",
    architecture="stable-diffusion-v1/lora",
    data=read_data("sd15"),
)


class StableDiffusion(Family):
    """Versions 1 and 2, which differ in data; see the modules."""

    def __init__(self, info: FamilyInfo, version: int) -> None:
        self.info = info
        self._version = version

    def matches(self, base: Path, index: Mapping[str, object]) -> bool:
        """By its classes; that its UNet takes text 1024 wide tells version 2."""
        width = read_config(base, "unet").get("cross_attention_dim")
        version = 2 if width == SD2_TEXT_WIDTH else 1
        one_encoder = "text_encoder_2" not in index
        return one_encoder and version == self._version and super().matches(base, index)

    def variant(self, base: Path) -> str:
        """What predicts epsilon is the one of 512 px, where there are two."""
        scheduler = read_config(base, "scheduler", "scheduler_config.json")
        epsilon = scheduler.get("prediction_type", "epsilon") == "epsilon"
        return "base" if epsilon and "base" in self.info.variants else super().variant(base)

    def pipeline_options(self, parts: Parts) -> dict[str, Any]:
        """No safety checker."""
        return {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (77 n, width): captions over 75 tokens take n chunks.

        Normalised whatever the layer. Version 2's text encoders were saved without their last
        layer, so that their last one is OpenCLIP's last but one.
        """
        clip.check_layers(parts.text_encoder, clip_skip)
        texts = clip.encode(parts.tokenizer, parts.text_encoder, captions, layer=clip_skip)
        norm = clip.final_norm(parts.text_encoder) if clip_skip else lambda states: states
        return [Condition({"context": norm(text.states)}) for text in texts]

    def level(
        self, parts: Parts, conditions: Sequence[Condition], *, clip_skip: int
    ) -> Sequence[Condition]:
        """Shorter texts go on with chunks of the empty caption."""
        return clip.level(conditions, self.encode_text(parts, [""], clip_skip=clip_skip)[0])

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


FAMILY = StableDiffusion(INFO, version=1)
