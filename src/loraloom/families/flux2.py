"""FLUX.2 dev, of 32 thousand million weights, with Mistral Small 3 for text.

black-forest-labs/flux2; diffusers' Flux2Pipeline is the reference. A text is the states of three
layers side by side, always of full length: the padding is text to the denoiser. Of the VAE's
latents each place in a square of 2 x 2 has a mean and a variance of its own. The pipeline draws
with a shift of its own too, stronger than the scheduler's; what trainers use, and this one, is the
scheduler's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loraloom.families import latents, mmdit
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo, Joined
from loraloom.families.parts import SCHEDULER, Part, Parts, import_class
from loraloom.kinds import read_data

if TYPE_CHECKING:
    from torch import Tensor

TOKENS = 512
_TEMPLATE_TOKENS = 33
"""Of the system message, 28, and the five marks around it and the caption."""
_LAYERS = (10, 20, 30)
_TRAINED_GUIDANCE = 1.0
"""Guidance while training: what the pictures are without any."""

_DOUBLE, _SINGLE = "transformer_blocks.*", "single_transformer_blocks.*"
_FUSED = (f"{_SINGLE}.attn.to_qkv_mlp_proj", f"{_SINGLE}.attn.to_out")
"""Attention and feed-forward in one."""
_FEED_FORWARD = ("ff.linear_in", "ff.linear_out", "ff_context.linear_in", "ff_context.linear_out")
_OWN_NAMES = {
    **{name: own for name, own in mmdit.ORIGINAL.items() if "_attn." in name},
    **{
        f"double_blocks.*.{theirs}": (Joined(f"{_DOUBLE}.{path}", ratio),)
        for theirs, path, ratio in zip(
            ("img_mlp.0", "img_mlp.2", "txt_mlp.0", "txt_mlp.2"),
            _FEED_FORWARD,
            (6, 1 / 3) * 2,
            strict=True,
        )
    },
    "single_blocks.*.linear1": (Joined(_FUSED[0], ratio=9),),
    "single_blocks.*.linear2": (Joined(_FUSED[1], ratio=1 / 4),),
    **{
        f"{kind}.lin": (Joined(f"{kind}.linear"),)
        for kind in (
            "double_stream_modulation_img",
            "double_stream_modulation_txt",
            "single_stream_modulation",
        )
    },
    "img_in": (Joined("x_embedder"),),
    "txt_in": (Joined("context_embedder"),),
}

INFO = FamilyInfo(
    id="flux2",
    title="FLUX.2 dev",
    licence="FLUX Non-Commercial License",
    pipeline="Flux2Pipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.Flux2Transformer2DModel",)),
        "text_encoder": Part("text_encoder", ("transformers.Mistral3ForConditionalGeneration",)),
        # Its processor wants torchvision, for pictures, which none of this is about.
        "tokenizer": Part(
            "tokenizer", ("transformers.PixtralProcessor",), loaded_as="transformers.AutoTokenizer"
        ),
        "vae": Part("vae", ("diffusers.AutoencoderKLFlux2",)),
        "scheduler": SCHEDULER,
    },
    objective="flow",
    prompt_style="sentences",
    token_limit=TOKENS - _TEMPLATE_TOKENS,
    context_tokens=TOKENS,
    negative_prompt=False,
    native_px=1024,
    size_multiple_px=64,
    max_aspect=2.0,
    patch=2,
    packed=True,
    targets=mmdit.targets(
        attention=_FUSED, feed_forward=_FEED_FORWARD, full=("context_embedder", "x_embedder")
    ),
    large_texts=True,
    layouts=("diffusers",),
    original=_OWN_NAMES,
    base_version="flux_2_dev",
    architecture="Flux.2-dev/lora",
    data=read_data("flux2"),
)


class Flux2(Family):
    """See the module."""

    info = INFO

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (512, 15360): three layers of the caption after the pipeline's own message."""
        chat = import_class("diffusers.pipelines.flux2.pipeline_flux2.format_input")
        given = parts.tokenizer.apply_chat_template(
            chat(list(captions)),
            add_generation_prompt=False,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=TOKENS,
        )
        return states(parts.text_encoder, given, _LAYERS)

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
        return velocity(denoiser, x_t, t, condition["context"])


def velocity(denoiser: Any, x_t: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """noise - x0, on tokens of 2 x 2 latent pixels; the denoiser counts t as it is."""
    import torch
    from torch.nn.functional import pad

    height, width = x_t.shape[-2:]
    guided = denoiser.config.guidance_embeds
    words = torch.arange(context.shape[1], device=x_t.device)
    output = denoiser(
        hidden_states=latents.pack(x_t),
        timestep=t,
        guidance=t.new_full(t.shape, _TRAINED_GUIDANCE) if guided else None,
        encoder_hidden_states=context,
        txt_ids=pad(words.unsqueeze(1), (3, 0)),
        img_ids=pad(mmdit.positions(height // 2, width // 2), (0, 1)).to(x_t.device),
        return_dict=False,
    )[0]
    return latents.unpack(output, height, width)


def states(encoder: Any, given: Any, layers: Sequence[int]) -> list[Condition]:
    """`context` (L, layers x width) of each row of tokens: the layers' states side by side."""
    import torch

    hidden = encoder(
        input_ids=given["input_ids"].to(encoder.device),
        attention_mask=given["attention_mask"].to(encoder.device),
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states
    joined = torch.cat([hidden[layer] for layer in layers], dim=-1)
    return [Condition({"context": row}) for row in joined]


FAMILY = Flux2()
