"""What a base model is: the contract that each family fills in one short file.

Importing this module or a family does not import torch; the methods that need it do.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from loraloom.errors import BaseUnknown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PartName = Literal["denoiser", "text_encoder", "tokenizer", "vae", "scheduler"]
ALL_PARTS: tuple[PartName, ...] = ("denoiser", "text_encoder", "tokenizer", "vae", "scheduler")


@dataclass(frozen=True)
class FamilyInfo:
    """What is known of a family without its weights."""

    id: str
    title: str
    licence: str
    folders: Mapping[PartName, str]
    """Part -> its folder in a diffusers folder; the names are the adapter file's components too."""
    prompt_style: Literal["tags", "hybrid", "sentences"]
    token_limit: int
    negative_prompt: bool
    native_px: int
    size_multiple_px: int
    max_aspect: float
    objective: Literal["discrete", "flow"]
    targets: Mapping[str, tuple[str, ...]]
    """Preset name -> endings of the denoiser's module paths that get an adapter."""
    text_encoder_targets: tuple[str, ...]
    layouts: tuple[Literal["kohya", "diffusers"], ...]
    """Adapter file layouts that its users read, the one written as adapter.safetensors first."""
    base_version: str
    architecture: str
    defaults: Mapping[str, object] = field(repr=False)
    """Recipe defaults, `common` and one table per kind, from data/<id>.toml."""


@dataclass(frozen=True)
class BaseProfile:
    """What one base folder says of itself: the family's values, changed by its loraloom.toml."""

    title: str
    native_px: int
    size_multiple_px: int
    max_aspect: float
    defaults: Mapping[str, object] = field(default_factory=dict)
    class_words: Mapping[str, str] = field(default_factory=dict)
    """Kind -> what the base calls such a thing ("person"), for prior preservation."""


@dataclass(frozen=True)
class LatentFormat:
    """Latents are (B, channels, H / factor, W / factor), times `scale` for unit variance."""

    channels: int
    factor: int
    scale: float


@dataclass(frozen=True)
class Condition:
    """The named tensors of ONE caption, without a batch dimension and without padding."""

    tensors: Mapping[str, Tensor]


@dataclass
class Parts:
    """A loaded base. A part that was not asked for, or was freed, is None (typed loosely: the
    libraries ship no types)."""

    denoiser: Any = None
    text_encoder: Any = None
    tokenizer: Any = None
    vae: Any = None
    scheduler: Any = None


class Family(ABC):
    """One kind of base model. Stateless: everything loaded lives in `Parts`."""

    info: FamilyInfo

    @abstractmethod
    def matches(self, model_index: Mapping[str, object]) -> bool:
        """Whether a diffusers folder with this model_index.json belongs to the family."""

    def refusal(self, base: Path) -> str | None:
        """Why a base that matches is not the family's all the same; None where it is.

        Reads JSON only; what is missing or broken is told by `load`.
        """
        return None

    @abstractmethod
    def load(
        self,
        base: Path,
        *,
        only: Collection[PartName] = ALL_PARTS,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
    ) -> Parts:
        """Load parts in eval mode without gradients; dtype None is float32. Raises BaseUnknown."""

    @abstractmethod
    def latent_format(self, vae: Any) -> LatentFormat:
        """The latents' shape and scale, read from the loaded VAE."""

    @abstractmethod
    def encode_text(
        self, parts: Parts, captions: Sequence[str], *, clip_skip: int = 0
    ) -> list[Condition]:
        """One condition a caption; gradients flow if the caller has not switched them off."""

    @abstractmethod
    def prompt_embeds(
        self,
        parts: Parts,
        prompts: Sequence[str],
        negatives: Sequence[str],
        *,
        clip_skip: int = 0,
    ) -> dict[str, Tensor]:
        """The pipeline's arguments that stand for these texts, of any length, one row a prompt.

        Conditions as in training, since a pipeline given text would cut it at the token limit.
        """

    @abstractmethod
    def encode_image(self, vae: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels (B, 3, H, W) in [-1, 1] -> mean and std of the scaled latents (B, C, h, w)."""

    @abstractmethod
    def decode(self, vae: Any, latents: Tensor) -> Tensor:
        """Scaled latents (B, C, h, w) -> pixels (B, 3, H, W) in [-1, 1]."""

    @abstractmethod
    def collate(self, conditions: Sequence[Condition]) -> dict[str, Tensor]:
        """Pad and stack the conditions of a batch; a mask is there only where lengths differ."""

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
        """The denoiser's output for x_t (B, C, h, w) at t (B,) in [0, 1], where 1 is noise.

        `timesteps`: how many the base's scheduler has, for a denoiser that counts them.
        """

    @abstractmethod
    def pipeline(self, parts: Parts) -> Any:
        """The diffusers pipeline that users generate with, over these very parts."""

    def profile(self, base: Path) -> BaseProfile:
        """The base folder's own sizes and defaults; reads JSON and TOML only."""
        own = _read_toml(base / "loraloom.toml")
        return BaseProfile(
            title=str(own.get("title", base.name)),
            native_px=int(own.get("native_px", self.native_px(base))),
            size_multiple_px=int(own.get("size_multiple_px", self.info.size_multiple_px)),
            max_aspect=float(own.get("max_aspect", self.info.max_aspect)),
            defaults=own.get("defaults", {}),
            class_words=own.get("class_words", {}),
        )

    def native_px(self, base: Path) -> int:
        """The side of the square that this base was trained at, in pixels."""
        return self.info.native_px

    def folder(self, base: Path, part: PartName) -> Path:
        """Where a part lies. Raises BaseUnknown where it is missing."""
        folder = base / self.info.folders[part]
        if not folder.is_dir():
            raise BaseUnknown(
                f"The base {base} has no folder {folder.name!r}: it is not complete. Download it "
                "again."
            )
        return folder

    def fingerprint(self, base: Path, part: PartName) -> str:
        """SHA-256 over the files of one part: what caches and checkpoints are keyed by.

        Raises BaseUnknown where the part is missing.
        """
        digest = hashlib.sha256()
        for file in sorted(self.folder(base, part).iterdir()):
            if file.is_file():
                with file.open("rb") as stream:
                    digest.update(file.name.encode())
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()


def read_model_index(base: Path) -> dict[str, object]:
    """The folder's model_index.json. Raises BaseUnknown where there is none that can be read."""
    path = base / "model_index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BaseUnknown(
            f"{base} is not a diffusers folder: its model_index.json cannot be read."
        ) from error
    if not isinstance(index, dict):
        raise BaseUnknown(f"{path} should hold a JSON object.")
    return index


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BaseUnknown(f"{path} is not valid TOML: {error}.") from error
