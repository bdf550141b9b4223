"""HunyuanVideo 1.5, the text-to-video model of 8.3 thousand million weights.

Tencent-Hunyuan/HunyuanVideo-1.5; diffusers' HunyuanVideo15Pipeline is the reference. It pads the
texts and masks the padding everywhere; here they are taken at their length, which is the same. The
denoiser takes a first picture too, beside the noise and as 729 states: here there is none, zeros
and no states at all, where the pipeline gives states that it masks. What a caption has in quotes is
told a second time, by its letters, through ByT5.

The pipeline loads no adapters: its transformer does, by `load_lora_adapter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.families import hunyuan_video
from loraloom.families.base import Condition, Family
from loraloom.families.info import Joined, frame_rule
from loraloom.families.parts import SCHEDULER, Part, Parts, import_class, read_config
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_SYSTEM = (" " * 8).join((
    "You are a helpful assistant. Describe the video by detailing the following aspects: ",
    "1. The main content and theme of the video. ",
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the "
    "objects. ",
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the "
    "objects. ",
    "4. background environment, light, style and atmosphere. ",
    "5. camera angles, movements, and transitions used in the video.",
))  # fmt: skip
_DROPPED = 108
"""Tokens of the template before the caption, whose states are left out."""
_AFTER = 5
"""Tokens of the template after it."""
_TOKENS = 1000
_LETTERS = 256
_LAYER = 3
"""From the end: the states after all but the last two layers."""
_CODE = "diffusers.pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5"

_APART = {
    f"double_blocks.*.{theirs}_{x}": (Joined(f"transformer_blocks.*.attn.{own.format(x)}"),)
    for theirs, own in (("img_attn", "to_{}"), ("txt_attn", "add_{}_proj"))
    for x in "qkv"
}
"""What the authors' code has, and trains. ComfyUI joins these as its HunyuanVideo does."""

INFO = replace(
    hunyuan_video.INFO,
    id="hunyuan_video15",
    title="HunyuanVideo 1.5",
    pipeline="HunyuanVideo15Pipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.HunyuanVideo15Transformer3DModel",)),
        "text_encoder": Part("text_encoder", ("transformers.Qwen2_5_VLTextModel",)),
        "text_encoder_2": Part("text_encoder_2", ("transformers.T5EncoderModel",)),
        "tokenizer": Part(
            "tokenizer", ("transformers.Qwen2Tokenizer", "transformers.Qwen2TokenizerFast")
        ),
        "tokenizer_2": Part("tokenizer_2", ("transformers.ByT5Tokenizer",)),
        "vae": Part("vae", ("diffusers.AutoencoderKLHunyuanVideo15",)),
        "scheduler": SCHEDULER,
    },
    token_limit=_TOKENS - _AFTER,
    context_tokens=_TOKENS,
    negative_prompt=True,
    native_px=640,
    patch=1,
    guidance="",
    frames=frame_rule("hunyuan-video-1.5"),
    targets={
        name: tuple(ending for ending in endings if not ending.startswith("single_"))
        for name, endings in hunyuan_video.INFO.targets.items()
    },
    original={**hunyuan_video.DOUBLE_NAMES, **_APART},
    base_version="hunyuan_video_1_5",
    architecture="hunyuan-video-1.5/lora",
    data=read_data("hunyuan_video15"),
)


class HunyuanVideo15(Family):
    """See the module."""

    info = INFO
    arguments: Mapping[str, str] = {
        "context": "prompt_embeds",
        "mask": "prompt_embeds_mask",
        "context_2": "prompt_embeds_2",
        "mask_2": "prompt_embeds_mask_2",
    }

    def variant(self, base: Path) -> str:
        """By the size that the denoiser was made for, and whether it draws without guidance."""
        large = read_config(base, "transformer").get("target_size", 640) > 640
        guider = read_config(base, "guider", "guider_config.json")
        alone = guider.get("guidance_scale") == 1.0
        return ("720p" if large else "480p") + ("-distilled" if alone else "")

    def channels_taken(self, channels: int) -> int:
        """Of the noise, of a first picture, and where that is."""
        return 2 * channels + 1

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (L, 3584) from Qwen2.5-VL, without the template's first tokens; of what stands
        in quotes `context_2` (L2, 1472) from ByT5 with its `mask_2` (L2,): one zero for none."""
        chat = import_class(f"{_CODE}.format_text_input")
        conditions = []
        for caption in captions:
            given = parts.tokenizer.apply_chat_template(
                chat([caption], _SYSTEM),
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                max_length=_DROPPED + _TOKENS,
                truncation=True,
                return_tensors="pt",
            ).to(parts.text_encoder.device)
            states = parts.text_encoder(
                input_ids=given.input_ids,
                attention_mask=given.attention_mask,
                output_hidden_states=True,
            ).hidden_states[-_LAYER][0, _DROPPED:]
            conditions.append(Condition({"context": states, **_letters(parts, caption)}))
        return conditions

    def collate(self, conditions: Sequence[Condition]) -> dict[str, Tensor]:
        """Each padded to the longest, with `mask` and `mask_2` (B, L) in any case."""
        from torch.nn.utils.rnn import pad_sequence

        rows = [{"mask": c.tensors["context"][:, 0] * 0 + 1, **c.tensors} for c in conditions]
        return {
            name: pad_sequence([row[name] for row in rows], batch_first=True)
            for name in self.arguments
        }

    def text_shapes(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Without anything in quotes, which is rare and short."""
        letters = (1, config["text_embed_2_dim"])
        return {**super().text_shapes(config), "context_2": letters, "mask_2": (1,)}

    def pipeline_options(self, parts: Parts) -> dict[str, Any]:
        """With a guider, which each drawing tells its scale."""
        return {"guider": import_class("diffusers.ClassifierFreeGuidance")()}

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
        import torch

        no_picture = torch.zeros_like(torch.cat([x_t, x_t[:, :1]], dim=1))
        output: Tensor = denoiser(
            hidden_states=torch.cat([x_t, no_picture], dim=1),
            timestep=t * timesteps,
            encoder_hidden_states=condition["context"],
            encoder_attention_mask=condition["mask"],
            encoder_hidden_states_2=condition["context_2"],
            encoder_attention_mask_2=condition["mask_2"],
            image_embeds=x_t.new_zeros(len(x_t), 0, denoiser.config.image_embed_dim),
            return_dict=False,
        )[0]
        return output


def _letters(parts: Parts, caption: str) -> dict[str, Tensor]:
    """`context_2` and `mask_2` of what a caption has in quotes."""
    encoder = parts.text_encoder_2
    found = import_class(f"{_CODE}.extract_glyph_texts")(caption)
    if found is None:
        nothing = next(encoder.parameters()).new_zeros(1, encoder.config.d_model)
        return {"context_2": nothing, "mask_2": nothing.new_zeros(1)}
    given = parts.tokenizer_2(found, max_length=_LETTERS, truncation=True, return_tensors="pt")
    states = encoder(given.input_ids.to(encoder.device))[0][0]
    return {"context_2": states, "mask_2": states.new_ones(len(states))}


FAMILY = HunyuanVideo15()
