"""Wan 2.1 of 1.3 and 14 thousand million weights, and Wan 2.2 of 5; the text-to-video models.

Wan-Video/Wan2.1, arXiv:2503.20314; diffusers' WanPipeline is the reference. The 5B has a VAE of
factor 16 with 48 channels, and its pipeline tells the denoiser one and the same time for each
token: that is the time of the whole clip, as it is given here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.errors import BaseUnknown
from loraloom.families import t5
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo, Joined, frame_rule
from loraloom.families.parts import SCHEDULER, Part, Parts, import_class, read_config
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_TOKENS = 512
_WIDE_VAE = 48
"""Latent channels of the VAE of the 5B."""
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_BLOCKS = (*_ATTENTION, "ffn.net.0.proj", "ffn.net.2")
_TIME = ("condition_embedder.time_proj",)
"""From which all blocks are modulated."""
_OWN_NAMES = {
    **{
        f"blocks.*.{own}.{letter}": (Joined(f"blocks.*.{theirs}.{end}"),)
        for theirs, own in (("attn1", "self_attn"), ("attn2", "cross_attn"))
        for end, letter in zip(_ATTENTION, "qkvo", strict=True)
    },
    "blocks.*.ffn.0": (Joined("blocks.*.ffn.net.0.proj"),),
    "blocks.*.ffn.2": (Joined("blocks.*.ffn.net.2"),),
    "time_projection.1": (Joined("condition_embedder.time_proj"),),
}

DENOISER = Part("transformer", ("diffusers.WanTransformer3DModel",))
SECOND_DENOISER = replace(DENOISER, folder="transformer_2", component="transformer")
"""Its files are named as the first one's: the readers are told what they are for."""
INFO = FamilyInfo(
    id="wan",
    title="Wan 2.1",
    licence="Apache-2.0",
    pipeline="WanPipeline",
    parts={
        "denoiser": DENOISER,
        "text_encoder": Part("text_encoder", ("transformers.UMT5EncoderModel",)),
        "tokenizer": Part("tokenizer", t5.TOKENIZERS),
        "vae": Part("vae", ("diffusers.AutoencoderKLWan",), always_float32=True),
        "scheduler": SCHEDULER,
    },
    objective="flow",
    prompt_style="sentences",
    token_limit=_TOKENS - 1,
    context_tokens=_TOKENS,
    negative_prompt=True,
    native_px=632,
    size_multiple_px=16,
    max_aspect=2.0,
    patch=2,
    frames=frame_rule("wan"),
    targets={
        "attention": _ATTENTION,
        "blocks": _BLOCKS,
        "full": (*_BLOCKS, *_TIME),
    },
    large_texts=True,
    layouts=("comfyui", "diffusers"),
    original=_OWN_NAMES,
    named_apart=True,
    base_version="wan",
    architecture="wan/lora",
    data=read_data("wan"),
)


class Wan(Family):
    """See the module; of a base with two experts `expert` is the one that is `denoiser`."""

    def __init__(self, info: FamilyInfo, expert: str = "") -> None:
        self.info = info
        self._expert = expert

    def matches(self, base: Path, index: Mapping[str, object]) -> bool:
        """Whether it has one denoiser, or two where the family has experts."""
        two = index.get("transformer_2") not in (None, [None, None])
        return super().matches(base, index) and two == bool(self.info.experts)

    def variant(self, base: Path) -> str:
        """The expert; the 5B is told by its VAE."""
        wide = not self._expert and read_config(base, "vae").get("z_dim") == _WIDE_VAE
        return "5b" if wide else self._expert

    def expert(self, name: str) -> Family:
        """The family with that one of its denoisers as `denoiser`."""
        high, low = DENOISER, SECOND_DENOISER
        own, other = (high, low) if name == self.info.experts[0] else (low, high)
        parts = {**self.info.parts, "denoiser": own, "denoiser_2": other}
        return Wan(replace(self.info, parts=parts), name)

    def times(self, parts: Parts) -> tuple[float, float]:
        """The first expert from model_index.json's boundary_ratio to noise, the second before."""
        if not self.info.experts:
            return 0.0, 1.0
        boundary = parts.options.get("boundary_ratio")
        if not isinstance(boundary, float):
            raise BaseUnknown(
                "The model_index.json of this base has no boundary_ratio, which tells where the "
                "one expert ends and the other begins: download it again."
            )
        return (boundary, 1.0) if self._expert == self.info.experts[0] else (0.0, boundary)

    def loading(self, expert: str) -> dict[str, Any]:
        """The second expert's adapters go into the second transformer."""
        return {"load_into_transformer_2": True} if expert in self.info.experts[1:] else {}

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (L, 4096) from UMT5 of the caption, cleaned as the pipeline cleans it."""
        clean = import_class("diffusers.pipelines.wan.pipeline_wan.prompt_clean")
        conditions = []
        for caption in captions:
            given = t5.tokens(parts.tokenizer, [clean(caption)], _TOKENS)
            given = given.to(parts.text_encoder.device)
            states = parts.text_encoder(given.input_ids, given.attention_mask).last_hidden_state
            length = int(given.attention_mask.sum())
            conditions.append(Condition({"context": states[0, :length]}))
        return conditions

    def collate(self, conditions: Sequence[Condition]) -> dict[str, Tensor]:
        """`context` (B, 512, 4096), zero beyond the text, without a mask."""
        import torch
        from torch.nn.functional import pad

        contexts = [condition.tensors["context"] for condition in conditions]
        return {"context": torch.stack([pad(c, (0, 0, 0, _TOKENS - len(c))) for c in contexts])}

    def pipeline_options(self, parts: Parts) -> dict[str, Any]:
        """As model_index.json has them."""
        names = ("boundary_ratio", "expand_timesteps")
        return {name: parts.options[name] for name in names if parts.options.get(name) is not None}

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
            return_dict=False,
        )[0]
        return output


FAMILY = Wan(INFO)
