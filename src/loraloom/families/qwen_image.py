"""Qwen-Image: a transformer of 20 thousand million weights with Qwen2.5-VL for text.

Wu et al. 2025, arXiv:2508.02324; diffusers' QwenImagePipeline is the reference. A caption is cut
where the pipeline cuts it by default, at 512 tokens with what the chat template adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloom.families import latents, mmdit
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import SCHEDULER, Part, Parts
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

_TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
    "quantity, text, spatial relationships of the objects and background:<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
_DROPPED = 34
"""Tokens of the template before the caption, whose states are left out."""
_AFTER = 5
"""Tokens of the template after it."""
_TOKENS = 512

INFO = FamilyInfo(
    id="qwen_image",
    title="Qwen-Image",
    licence="Apache-2.0",
    pipeline="QwenImagePipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.QwenImageTransformer2DModel",)),
        "text_encoder": Part("text_encoder", ("transformers.Qwen2_5_VLForConditionalGeneration",)),
        "tokenizer": Part(
            "tokenizer", ("transformers.Qwen2Tokenizer", "transformers.Qwen2TokenizerFast")
        ),
        "vae": Part("vae", ("diffusers.AutoencoderKLQwenImage",)),
        "scheduler": SCHEDULER,
    },
    objective="flow",
    prompt_style="sentences",
    token_limit=_TOKENS - _AFTER,
    context_tokens=_TOKENS,
    negative_prompt=True,
    native_px=1024,
    size_multiple_px=64,
    max_aspect=2.0,
    patch=2,
    packed=True,
    guidance="true_cfg_scale",
    targets=mmdit.targets(
        feed_forward=("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2"),
        full=("img_mod.1", "txt_mod.1"),
    ),
    large_texts=True,
    layouts=("comfyui", "diffusers"),
    base_version="qwen_image",
    architecture="qwen-image/lora",
    data=read_data("qwen_image"),
)


class QwenImage(Family):
    """See the module."""

    info = INFO

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (L, 3584) of the last layer, without the template's first tokens.

        One at a time: nothing is padded, and a caption's states never depend on its neighbours'.
        """
        conditions = []
        for caption in captions:
            given = parts.tokenizer(_TEMPLATE.format(caption), return_tensors="pt").to(
                parts.text_encoder.device
            )
            states = parts.text_encoder(
                input_ids=given.input_ids,
                attention_mask=given.attention_mask,
                output_hidden_states=True,
            ).hidden_states[-1][0]
            conditions.append(Condition({"context": states[_DROPPED : _DROPPED + _TOKENS]}))
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
        """noise - x0, on tokens of 2 x 2 latent pixels; the denoiser counts t as it is."""
        height, width = x_t.shape[-2:]
        output = denoiser(
            hidden_states=latents.pack(x_t),
            timestep=t,
            encoder_hidden_states=condition["context"],
            encoder_hidden_states_mask=condition.get("mask"),
            img_shapes=[[(1, height // 2, width // 2)]] * len(x_t),
            return_dict=False,
        )[0]
        return latents.unpack(output, height, width)


FAMILY = QwenImage()
