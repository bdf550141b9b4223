"""CogVideoX 2B, 5B and 1.5, the text-to-video models.

Yang et al. 2024, arXiv:2408.06072; diffusers' CogVideoXPipeline is the reference. Its own trainer
takes (x0_hat - x0)² / (1 - abar) with x0_hat = sqrt(abar) x_t - sqrt(1 - abar) out; as x0 is the
same of the true v, that is (out - v)², the plain loss of v-prediction, which is trained here.

`invert_scale_latents` and `ofs` are of the image-to-video models only: this pipeline divides the
latents by the scaling factor of every VAE, and tells no ofs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.families import t5
from loraloom.families.base import Condition, Family
from loraloom.families.info import FamilyInfo, frame_rule
from loraloom.families.parts import SCHEDULER, Part, Parts, import_class, read_config
from loraloom.kinds import read_data

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TOKENS = 226
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_BLOCKS = (*_ATTENTION, "ff.net.0.proj", "ff.net.2")

INFO = FamilyInfo(
    id="cogvideox",
    title="CogVideoX",
    licence="CogVideoX License",
    pipeline="CogVideoXPipeline",
    parts={
        "denoiser": Part("transformer", ("diffusers.CogVideoXTransformer3DModel",)),
        "text_encoder": Part("text_encoder", t5.ENCODERS),
        "tokenizer": Part("tokenizer", t5.TOKENIZERS),
        "vae": Part("vae", ("diffusers.AutoencoderKLCogVideoX",)),
        "scheduler": SCHEDULER,
    },
    objective="discrete",
    prompt_style="sentences",
    token_limit=_TOKENS - 1,
    context_tokens=_TOKENS,
    negative_prompt=True,
    native_px=587,
    size_multiple_px=16,
    max_aspect=2.0,
    patch=2,
    frames=frame_rule("cogvideox"),
    targets={
        "attention": _ATTENTION,
        "blocks": _BLOCKS,
        "full": (*_BLOCKS, "norm1.linear", "norm2.linear"),
    },
    large_texts=True,
    layouts=("diffusers", "comfyui"),
    base_version="cogvideox",
    architecture="cogvideox/lora",
    data=read_data("cogvideox"),
)


class CogVideoX(Family):
    """See the module."""

    info = INFO

    def variant(self, base: Path) -> str:
        """1.5 has tokens of two latent frames; of 1.0 the 2B counts places without rotation."""
        denoiser = read_config(base, "transformer")
        if denoiser.get("patch_size_t"):
            return "1.5"
        return "5b" if denoiser.get("use_rotary_positional_embeddings") else "2b"

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """`context` (226, 4096) from T5."""
        texts = t5.encode(parts.tokenizer, parts.text_encoder, captions, _TOKENS)
        return [Condition({"context": text}) for text in texts]

    def predict(
        self,
        denoiser: Any,
        x_t: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
        *,
        timesteps: int = 1000,
    ) -> Tensor:
        """v; the denoiser takes and gives (B, f, C, h, w), and counts the steps of its schedule."""
        output: Tensor = denoiser(
            hidden_states=x_t.transpose(1, 2),
            encoder_hidden_states=condition["context"],
            timestep=(t * (timesteps - 1)).round().long(),
            image_rotary_emb=_rotations(denoiser.config, x_t),
            return_dict=False,
        )[0]
        return output.transpose(1, 2)


def _rotations(config: Any, latents: Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Cosines and sines of each token's place, (tokens, head width) each; None for the 2B.

    1.0 stretches the grid that it was trained on over the picture, 1.5 cuts a piece out of it.
    """
    if not config.use_rotary_positional_embeddings:
        return None
    rotary: Any = import_class("diffusers.models.embeddings.get_3d_rotary_pos_embed")
    p, p_t = config.patch_size, config.patch_size_t
    frames, height, width = latents.shape[2:]
    grid, trained = (height // p, width // p), (config.sample_height // p, config.sample_width // p)
    place: dict[str, Any] = {"crops_coords": None, "grid_type": "slice", "max_size": trained}
    if p_t is None:
        fit: Any = import_class(
            "diffusers.pipelines.cogvideo.pipeline_cogvideox.get_resize_crop_region_for_grid"
        )
        place = {"crops_coords": fit(grid, trained[1], trained[0])}
    found: tuple[torch.Tensor, torch.Tensor] = rotary(
        embed_dim=config.attention_head_dim,
        grid_size=grid,
        temporal_size=frames // (p_t or 1),
        device=latents.device,
        **place,
    )
    return found


FAMILY = CogVideoX()
