"""What a base model is: the contract that each family fills in one short file.

Importing this module or a family does not import torch; the methods that need it do.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loraloom.families import latents
from loraloom.families.info import BaseProfile, FamilyInfo
from loraloom.families.latents import LatentFormat
from loraloom.families.parts import (
    PartName,
    Parts,
    import_class,
    load_parts,
    part_folder,
    read_config,
    read_model_index,
)
from loraloom.families.profile import read_profile, telling_nonsense, variant_by_name
from loraloom.families.shapes import text_shapes

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

_OTHER_WORK = {
    "Kontext": "edits a picture",
    "Edit": "edits a picture",
    "Layered": "takes a picture apart",
    "ImageToVideo": "lets a picture move",
}
"""Word in a pipeline's name -> what its models do, whose parts can be of a family's classes."""

Embeds = dict[str, "Tensor | list[Tensor]"]
"""A pipeline's arguments: one row, or one item of a list, for each prompt."""


@dataclass(frozen=True)
class Condition:
    """The named tensors of ONE caption, without a batch dimension and without padding: `context`
    (L, width), and what else the family has, such as `pooled` (width,)."""

    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class Geometry:
    """How a picture came to its size, (height, width) or (top, left) in pixels each.

    For bases that are told: SDXL, section 2.2 of arXiv:2307.01952.
    """

    original_px: tuple[int, int]
    crop_px: tuple[int, int]
    """Where the cut begins, after scaling."""
    target_px: tuple[int, int]


@dataclass(frozen=True)
class Drawing:
    """How a pipeline is to draw."""

    guidance: float
    steps: int
    width_px: int
    height_px: int
    frames: int = 1
    """More only on a base of video."""


class Family(ABC):
    """One kind of base model. Stateless: everything loaded lives in `Parts`."""

    info: FamilyInfo
    arguments: Mapping[str, str] = MappingProxyType(
        {"context": "prompt_embeds", "pooled": "pooled_prompt_embeds", "mask": "prompt_embeds_mask"}
    )
    """Name in a condition -> the pipeline's argument."""

    # What differs from family to family.

    @abstractmethod
    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """One condition a caption; gradients flow if the caller has not switched them off."""

    @abstractmethod
    def predict(
        self,
        denoiser: Any,
        x_t: Tensor,
        t: Tensor,
        condition: Mapping[str, Tensor],
        *,
        timesteps: int = 1000,
    ) -> Tensor:
        """The denoiser's output for x_t (B, C, h, w) at t (B,) in [0, 1], where 1 is noise; of a
        base of video (B, C, f, h, w).

        `condition`: what `collate` and `geometry` gave. `timesteps`: how many the base's scheduler
        has, for a denoiser that counts them. Flow families: towards noise - x0.
        """

    def geometry(self, pictures: Sequence[Geometry]) -> dict[str, Tensor]:
        """What the denoiser is told of the pictures' sizes, one row each; float32."""
        return {}

    def level(
        self, parts: Parts, conditions: Sequence[Condition], *, clip_skip: int
    ) -> Sequence[Condition]:
        """The conditions as a pipeline wants them, which may ask for one length."""
        return conditions

    def expert(self, name: str) -> Family:
        """The family with that one of its denoisers as `denoiser`, the other as `denoiser_2`."""
        raise NotImplementedError(f"{self.info.id} has one denoiser")

    def times(self, parts: Parts) -> tuple[float, float]:
        """From where to where the denoiser is used, of 0, clean, to 1, noise."""
        return 0.0, 1.0

    def loading(self, expert: str) -> dict[str, Any]:
        """What the pipeline's load_lora_weights must be told of an adapter for that expert."""
        return {}

    # What is the same, unless a family says otherwise.

    def text_shapes(self, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """The shapes of a caption's condition at full length, for a denoiser of this config."""
        return text_shapes(self.info.context_tokens, config)

    def matches(self, base: Path, index: Mapping[str, object]) -> bool:
        """Whether a diffusers folder with this model_index.json belongs to the family."""
        return all(part.accepts(index) for part in self.info.parts.values() if part.classes)

    def refusal(self, base: Path) -> str | None:
        """Why a base that matches is not the family's all the same; None where it is.

        Reads JSON only; what is missing or broken is told by `load`.
        """
        name = str(read_model_index(base).get("_class_name", ""))
        for word, work in _OTHER_WORK.items():
            if word in name:
                return (
                    f"{base} is a model for {name}, which {work} that it is given: such models "
                    "cannot be trained here. Use the model that draws from text alone."
                )
        folders = self.info.folders
        denoiser = read_config(base, folders["denoiser"])
        vae = read_config(base, folders["vae"])
        takes, gives = denoiser.get("in_channels"), vae.get("latent_channels", vae.get("z_dim"))
        if takes is None or gives is None or takes == self.channels_taken(gives):
            return None
        return (
            f"The denoiser of {base} takes {takes} channels, and with its VAE it should take "
            f"{self.channels_taken(gives)}: it is made for inpainting or the like. Use the model "
            "that draws from text alone."
        )

    def experts_of(self, metadata: Mapping[str, str]) -> tuple[str, ...]:
        """The experts that an adapter file with this metadata is for: all, where it names none."""
        named = metadata.get("modelspec.architecture")
        facts = self.info.variants
        own = [name for name in self.info.experts if facts[name].get("architecture") == named]
        return tuple(own) or self.info.experts

    def channels_taken(self, channels: int) -> int:
        """How many channels the denoiser takes of latents that have so many."""
        return channels * (self.info.patch**2 if self.info.packed else 1)

    def load(
        self,
        base: Path,
        *,
        only: Collection[PartName] | None = None,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
    ) -> Parts:
        """Load parts in eval mode without gradients; dtype None is float32. Raises BaseUnknown."""
        return load_parts(self.info.parts, base, only=only, dtype=dtype, device=device)

    def latent_format(self, vae: Any) -> LatentFormat:
        """The latents' shape and scale, read from the loaded VAE."""
        return latents.format_of(vae)

    def encode_image(self, vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (B, 3, H, W) in [-1, 1] -> mean and std of the scaled latents (B, C, h, w); of a
        base of video (B, 3, F, H, W) -> (B, C, f, h, w)."""
        if self.info.tiled:
            latents.spare_memory(vae, pixels[0, 0].numel())
        return latents.encode(vae, pixels)

    def decode(self, vae: Any, scaled: Tensor) -> Tensor:
        """Scaled latents -> pixels in [-1, 1], of the shapes of `encode_image`."""
        return latents.decode(vae, scaled)

    def collate(self, conditions: Sequence[Condition]) -> dict[str, Tensor]:
        """Stack the conditions of a batch. Where lengths differ `context` (B, L, width) is padded
        with zeros, and `mask` (B, L) of ones and zeros tells what is text."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        names = conditions[0].tensors
        rows = {name: [condition.tensors[name] for condition in conditions] for name in names}
        contexts = rows["context"]
        if len({len(context) for context in contexts}) == 1:
            return {name: torch.stack(values) for name, values in rows.items()}
        del rows["context"]
        ones = [torch.ones_like(context[:, 0]) for context in contexts]
        return {
            "context": pad_sequence(contexts, batch_first=True),
            "mask": pad_sequence(ones, batch_first=True),
            **{name: torch.stack(values) for name, values in rows.items()},
        }

    def prompt_embeds(
        self,
        parts: Parts,
        prompts: Sequence[str],
        negatives: Sequence[str],
        *,
        clip_skip: int = 0,
    ) -> Embeds:
        """The pipeline's arguments that stand for these texts, of any length, one row a prompt.

        Conditions as in training, since a pipeline given text would cut it at the token limit.
        """
        texts = [*prompts, *(negatives if self.info.negative_prompt else ())]
        conditions = self.encode_text(parts, texts, clip_skip=clip_skip)
        batch = self.collate(self.level(parts, conditions, clip_skip=clip_skip))
        embeds: Embeds = {}
        for name, rows in batch.items():
            embeds[self.arguments[name]] = rows[: len(prompts)]
            if self.info.negative_prompt:
                embeds[f"negative_{self.arguments[name]}"] = rows[len(prompts) :]
        return embeds

    def pipeline_options(self, parts: Parts) -> dict[str, Any]:
        """What the pipeline is made with beside the parts."""
        return {}

    def pipeline(self, parts: Parts) -> Any:
        """The diffusers pipeline that users generate with, over these very parts."""
        named = {part.folder: getattr(parts, name) for name, part in self.info.parts.items()}
        pipe = import_class(f"diffusers.{self.info.pipeline}")(
            **named, **self.pipeline_options(parts)
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def draw(
        self,
        pipe: Any,
        embeds: Embeds,
        how: Drawing,
        generator: torch.Generator | list[torch.Generator],
    ) -> list[Image.Image]:
        """Pictures from the pipeline, one for each row of `embeds`; of clips the first frame."""
        return [frames[0] for frames in self.film(pipe, embeds, how, generator)]

    def film(
        self,
        pipe: Any,
        embeds: Embeds,
        how: Drawing,
        generator: torch.Generator | list[torch.Generator],
        on_step: Callable[[], None] | None = None,
    ) -> list[list[Image.Image]]:
        """The frames of a clip for each row of `embeds`; of a base of pictures, one each.

        `on_step` is called after each denoising step. Clips are decoded in tiles where the VAE can.
        """
        import torch

        exact, moving = self.info.parts["vae"].always_float32, self.info.frames is not None
        if not self.info.guidance:
            pipe.guider = pipe.guider.new(guidance_scale=how.guidance)
        if moving:
            latents.spare_memory(pipe.vae, how.frames * how.height_px * how.width_px)
        # One pipeline of diffusers' tells of no steps.
        telling = on_step and "callback_on_step_end" in inspect.signature(pipe.__call__).parameters
        output = pipe(
            **embeds,
            **({self.info.guidance: how.guidance} if self.info.guidance else {}),
            **({"num_frames": how.frames} if moving else {}),
            num_inference_steps=how.steps,
            width=how.width_px,
            height=how.height_px,
            generator=generator,
            output_type="latent" if exact else "pil",
            **({"callback_on_step_end": _telling(on_step)} if on_step and telling else {}),
        )
        drawn: Any = output.frames if moving else output.images
        if exact:
            with torch.no_grad(), torch.autocast(drawn.device.type, enabled=False):
                pixels = self.decode(pipe.vae, drawn.float())
            if moving:
                drawn = pipe.video_processor.postprocess_video(pixels, output_type="pil")
            else:
                drawn = pipe.image_processor.postprocess(pixels)
        clips: list[list[Image.Image]] = drawn if moving else [[picture] for picture in drawn]
        return clips

    def profile(self, base: Path) -> BaseProfile:
        """The base's own sizes and defaults; reads JSON and TOML only. Raises BaseUnknown."""
        with telling_nonsense(base):
            return read_profile(self.info, base, self.variant(base))

    def variant(self, base: Path) -> str:
        """Which of the family's variants a base is, as it tells itself; "" where it is none."""
        return variant_by_name(self.info, base)

    def fingerprint(self, base: Path, part: PartName) -> str:
        """SHA-256 over the files of one part: what caches and checkpoints are keyed by.

        Raises BaseUnknown where the part is missing.
        """
        digest = hashlib.sha256()
        for file in sorted(part_folder(base, self.info.parts[part]).iterdir()):
            if file.is_file():
                with file.open("rb") as stream:
                    digest.update(file.name.encode())
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()


def _telling(on_step: Callable[[], None]) -> Callable[..., dict[str, Any]]:
    """The callback that a pipeline wants."""

    def told(pipe: Any, step: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        on_step()
        return kept

    return told
