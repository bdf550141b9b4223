"""Stable Diffusion 1.x, and every base of its shape: a UNet and one CLIP text encoder.

Rombach et al. 2022, arXiv:2112.10752; diffusers' StableDiffusionPipeline is the reference.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.errors import BaseUnknown, ConfigInvalid
from loraloom.families.base import (
    ALL_PARTS,
    Condition,
    Family,
    FamilyInfo,
    LatentFormat,
    PartName,
    Parts,
)
from loraloom.kinds import read_data

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_BLOCKS = (*_ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out")
_FULL = (*_BLOCKS, "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv")
_SD2_TEXT_WIDTH = 1024

INFO = FamilyInfo(
    id="sd15",
    title="Stable Diffusion 1.5",
    licence="CreativeML Open RAIL-M",
    folders={
        "denoiser": "unet",
        "text_encoder": "text_encoder",
        "tokenizer": "tokenizer",
        "vae": "vae",
        "scheduler": "scheduler",
    },
    prompt_style="tags",
    token_limit=75,
    negative_prompt=True,
    native_px=512,
    size_multiple_px=64,
    max_aspect=2.0,
    objective="discrete",
    targets={"attention": _ATTENTION, "blocks": _BLOCKS, "full": _FULL},
    text_encoder_targets=("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    layouts=("kohya", "diffusers"),
    base_version="sd_v1",
    architecture="stable-diffusion-v1/lora",
    defaults=read_data("sd15"),
)


class Sd15(Family):
    """See the module."""

    info = INFO

    def matches(self, model_index: Mapping[str, object]) -> bool:
        """A UNet2DConditionModel with one CLIPTextModel."""

        def has(part: str, name: str) -> bool:
            entry = model_index.get(part)
            return isinstance(entry, list) and len(entry) == 2 and entry[1] == name

        return (
            has("unet", "UNet2DConditionModel")
            and has("text_encoder", "CLIPTextModel")
            and "text_encoder_2" not in model_index
        )

    def refusal(self, base: Path) -> str | None:
        """Stable Diffusion 2, and UNets that take more than latents, such as inpainting."""
        unet, vae = _config(base, "unet"), _config(base, "vae")
        if unet.get("cross_attention_dim") == _SD2_TEXT_WIDTH:
            return (
                f"{base} is a Stable Diffusion 2 model: its UNet takes text {_SD2_TEXT_WIDTH} "
                f"wide, and no {self.info.title} model does. Use a {self.info.title} model."
            )
        takes, gives = unet.get("in_channels"), vae.get("latent_channels")
        if None not in (takes, gives) and takes != gives:
            return (
                f"The UNet of {base} takes {takes} channels, and its VAE gives {gives}: it is made "
                "for inpainting or the like. Use the model that draws from text alone."
            )
        return None

    def native_px(self, base: Path) -> int:
        """The UNet's sample size times the VAE's factor."""
        unet, vae = _config(base, "unet"), _config(base, "vae")
        try:
            return int(unet["sample_size"]) << (len(vae["block_out_channels"]) - 1)
        except (ValueError, KeyError, TypeError):
            return self.info.native_px

    def load(
        self,
        base: Path,
        *,
        only: Collection[PartName] = ALL_PARTS,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
    ) -> Parts:
        """Load parts from a diffusers folder."""
        import torch
        from safetensors import SafetensorError

        for part in only:
            self.folder(base, part)
        diffusers: Any = import_module("diffusers")
        transformers: Any = import_module("transformers")
        dtype = dtype or torch.float32
        parts = Parts()
        try:
            # transformers draws a bar for every load, even of a file of a few kB.
            transformers.utils.logging.disable_progress_bar()
            if "denoiser" in only:
                parts.denoiser = diffusers.UNet2DConditionModel.from_pretrained(
                    base / "unet", torch_dtype=dtype, local_files_only=True
                )
            if "text_encoder" in only:
                parts.text_encoder = transformers.CLIPTextModel.from_pretrained(
                    base / "text_encoder", dtype=dtype, local_files_only=True
                )
            if "tokenizer" in only:
                parts.tokenizer = transformers.CLIPTokenizer.from_pretrained(
                    base / "tokenizer", local_files_only=True
                )
            if "vae" in only:
                parts.vae = diffusers.AutoencoderKL.from_pretrained(
                    base / "vae", torch_dtype=dtype, local_files_only=True
                )
            if "scheduler" in only:
                parts.scheduler = _load_scheduler(base)
        except (OSError, ValueError, SafetensorError) as error:
            raise BaseUnknown(f"The base {base} cannot be loaded: {error}") from error
        for module in (parts.denoiser, parts.text_encoder, parts.vae):
            if module is not None:
                module.requires_grad_(False).eval().to(device)
        return parts

    def latent_format(self, vae: Any) -> LatentFormat:
        """Channels and scale of the VAE's config; each block but the last halves the side."""
        config = vae.config
        factor = 2 ** (len(config.block_out_channels) - 1)
        return LatentFormat(config.latent_channels, factor, config.scaling_factor)

    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """Conditions of one tensor, `context` (77 n, width): captions over 75 tokens take n chunks.

        As in the pipeline, padding up to 77 is part of the condition and is not masked.
        """
        import torch

        layers = parts.text_encoder.config.num_hidden_layers
        if clip_skip > layers:
            raise ConfigInvalid(
                f"clip_skip = {clip_skip} is not possible: the base's text encoder has {layers} "
                "layers."
            )
        chunks = [list(_chunks(parts.tokenizer, caption)) for caption in captions]
        ids = torch.tensor([chunk for caption in chunks for chunk in caption])
        output = parts.text_encoder(
            ids.to(parts.text_encoder.device), output_hidden_states=clip_skip > 0
        )
        states = output.last_hidden_state  # (chunks, 77, width)
        if clip_skip:
            states = _final_norm(parts.text_encoder)(output.hidden_states[-1 - clip_skip])
        split = states.split([len(caption) for caption in chunks])
        return [Condition({"context": part.flatten(0, 1)}) for part in split]

    def prompt_embeds(
        self,
        parts: Parts,
        prompts: Sequence[str],
        negatives: Sequence[str],
        *,
        clip_skip: int = 0,
    ) -> dict[str, Tensor]:
        """`prompt_embeds` and `negative_prompt_embeds`, (B, 77 n, width) each.

        The pipeline wants one length: shorter texts go on with chunks of the empty caption.
        """
        import torch

        conditions = self.encode_text(parts, [*prompts, *negatives, ""], clip_skip=clip_skip)
        *contexts, empty = [condition.tensors["context"] for condition in conditions]
        chunks = max(len(context) for context in contexts) // len(empty)
        padded = torch.stack(
            [torch.cat([c, empty.repeat(chunks - len(c) // len(empty), 1)]) for c in contexts]
        )
        positive, negative = padded.split([len(prompts), len(negatives)])
        return {"prompt_embeds": positive, "negative_prompt_embeds": negative}

    def encode_image(self, vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std of the scaled posterior, (B, C, h, w) each."""
        posterior = vae.encode(pixels.to(vae.dtype)).latent_dist
        scale = vae.config.scaling_factor
        return posterior.mean * scale, posterior.std * scale

    def decode(self, vae: Any, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) -> pixels (B, 3, H, W) in [-1, 1]."""
        pixels: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
        return pixels.clamp(-1, 1)

    def collate(self, conditions: Sequence[Condition]) -> dict[str, Tensor]:
        """`context` (B, L, width), and `mask` (B, L) of ones and zeros where lengths differ."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        contexts = [condition.tensors["context"] for condition in conditions]
        if len({len(context) for context in contexts}) == 1:
            return {"context": torch.stack(contexts)}
        ones = [torch.ones_like(context[:, 0]) for context in contexts]
        return {
            "context": pad_sequence(contexts, batch_first=True),
            "mask": pad_sequence(ones, batch_first=True),
        }

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
        output: Tensor = denoiser(
            x_t,
            (t * (timesteps - 1)).round().long(),
            encoder_hidden_states=condition["context"],
            encoder_attention_mask=condition.get("mask"),
            return_dict=False,
        )[0]
        return output

    def pipeline(self, parts: Parts) -> Any:
        """StableDiffusionPipeline without safety checker and progress bar."""
        diffusers: Any = import_module("diffusers")
        pipe = diffusers.StableDiffusionPipeline(
            vae=parts.vae,
            text_encoder=parts.text_encoder,
            tokenizer=parts.tokenizer,
            unet=parts.denoiser,
            scheduler=parts.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe


def _chunks(tokenizer: Any, caption: str) -> Iterator[list[int]]:
    """The caption in pieces of 75 tokens, each with start, end and padding: 77 ids."""
    ids = tokenizer(caption, add_special_tokens=False, verbose=False).input_ids
    room = tokenizer.model_max_length - 2
    for start in range(0, max(len(ids), 1), room):
        piece = [tokenizer.bos_token_id, *ids[start : start + room], tokenizer.eos_token_id]
        yield piece + [tokenizer.pad_token_id] * (room + 2 - len(piece))


def _config(base: Path, part: str) -> dict[str, Any]:
    """The part's config.json; empty where there is none that can be read."""
    try:
        config = json.loads((base / part / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _final_norm(text_encoder: Any) -> Any:
    """CLIP's last layer norm: transformers 5 dropped the inner `text_model`."""
    return getattr(text_encoder, "text_model", text_encoder).final_layer_norm


def _load_scheduler(base: Path) -> Any:
    """The scheduler class that the base's own config names."""
    diffusers: Any = import_module("diffusers")
    config = json.loads((base / "scheduler/scheduler_config.json").read_text(encoding="utf-8"))
    name = config.get("_class_name", "")
    if not name.endswith("Scheduler") or not hasattr(diffusers, name):
        raise BaseUnknown(f"{base / 'scheduler'} names no scheduler that diffusers has: {name!r}.")
    return getattr(diffusers, name).from_config(config)


FAMILY = Sd15()
