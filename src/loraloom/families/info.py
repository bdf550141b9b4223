"""What is known of a family without its weights, and what one base says of itself: data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from loraloom.families.parts import Part, PartName
from loraloom.kinds import read_data

PromptStyle = Literal["tags", "hybrid", "sentences"]
Layout = Literal["kohya", "diffusers", "comfyui"]
"""Ways of naming an adapter file's tensors; see adapters/keys.py."""


@dataclass(frozen=True)
class Joined:
    """A module of diffusers that is all, or in this order a part, of one of the authors'."""

    path: str
    ratio: float = 1
    """How many times as many outputs as inputs it has; counts where several are joined, and where
    the authors of two families have one name for different modules."""


@dataclass(frozen=True)
class KohyaNames:
    """How kohya's layout names the modules of a family's bases."""

    prefixes: Mapping[str, str]
    """Folder of a part -> what its names begin with."""
    sgm: bool = False
    """Whether the denoiser's blocks go by Stability AI's own code ("input_blocks_4_1")."""


@dataclass(frozen=True)
class FrameRule:
    """How many frames a video base takes: `step` × k + 1 from `least` to `most`."""

    least: int
    most: int
    step: int
    fps: int
    """Frames a second that the base was trained at."""
    group: int = 1
    """Latent frames that make one token; the first is shown again until they come out even."""

    def largest(self, available: int) -> int:
        """The largest count of the form `step` × k + 1 up to `available`; 0 for none."""
        return (available - 1) // self.step * self.step + 1 if available > 0 else 0

    def nearest(self, count: int) -> str:
        """For messages: what it takes, and the counts around one that is not among them."""
        low = self.largest(count)
        return f"takes {self.step} k + 1 frames: {low} or {low + self.step}, for example"

    def fit(self, available: int) -> int:
        """The same, up to `most`; 0 where it is less than `least`."""
        count = self.largest(min(available, self.most))
        return count if count >= self.least else 0


def frame_rule(name: str) -> FrameRule:
    """Of a base in data/video.toml."""
    numbers = read_data("video")[name]
    return FrameRule(
        numbers["least_frames"], numbers["most_frames"], numbers["frame_step"], numbers["fps"]
    )


@dataclass(frozen=True)
class HubBase:
    """A well-known base of a family on the hub."""

    id: str
    licence: str
    gated: bool
    """Whether the hub asks for one's consent to the licence, and for a token."""


@dataclass(frozen=True)
class FamilyInfo:
    """What is known of a family without its weights."""

    id: str
    title: str
    licence: str
    pipeline: str
    """The diffusers pipeline that users generate with."""
    parts: Mapping[PartName, Part]
    objective: Literal["discrete", "flow"]

    prompt_style: PromptStyle
    token_limit: int
    context_tokens: int
    """Length of a caption's condition at its fullest, or of one chunk."""
    negative_prompt: bool
    native_px: int
    size_multiple_px: int
    max_aspect: float

    targets: Mapping[str, tuple[str, ...]]
    """Preset name -> endings of the denoiser's module paths that get an adapter; "*" is a name."""
    layouts: tuple[Layout, ...]
    """Adapter file layouts that its users read, the one written as adapter.safetensors first."""
    base_version: str
    """sd-scripts' word for it, in `ss_base_model_version`."""
    architecture: str
    """ModelSpec's word for it."""
    data: Mapping[str, Any] = field(repr=False)
    """data/<id>.toml: recipe defaults, `common` and one table per kind, `variants`, `cards` and
    `hub`."""

    frames: FrameRule | None = None
    """Of a base of video, for which a picture is a clip of one frame."""
    experts: tuple[str, ...] = ()
    """Names of its denoisers, each of its own range of times; a run trains one of them."""
    kohya: KohyaNames | None = None
    original: Mapping[str, tuple[Joined, ...]] = field(default_factory=dict)
    """Module path in the authors' own code, by which ComfyUI goes and in part kohya, "*" a number,
    -> what diffusers has in its place; {}: named as in diffusers."""
    checkpoint: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Tensors, with their shapes, that tell its single checkpoint files; {}: none are read. Their
    configuration is data/checkpoints/<id>."""
    chunked: bool = False
    """Whether a caption over the token limit goes on in further chunks; it is cut otherwise."""
    limiting_tokenizer: PartName = "tokenizer"
    """The tokenizer that `token_limit` counts with."""
    clip_skip: bool = False
    """Whether the last layers of its text encoders can be left out."""
    trained_encoders: tuple[PartName, ...] = ()
    """Text encoders that can be trained beside the denoiser."""
    text_encoder_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    large_texts: bool = False
    """Whether the text encoders are too large to be loaded in float32 without being told to."""
    guidance: str = "guidance_scale"
    """The pipeline's argument for the guidance scale; "" where a guider beside it has it."""
    patch: int = 1
    """Latent pixels on the side of one token."""
    context_width: int | None = None
    """Width of the text that its UNet takes, which tells foreign adapter files; of two families
    of one width the one that most files are of has it."""
    packed: bool = False
    """Whether the tokens are made outside of the denoiser, which then takes patch² x channels."""
    tiled: bool = False
    """Whether its VAE takes large clips in tiles: whole they need more memory than cards have."""
    named_apart: bool = False
    """Whether diffusers has those modules of the table in no other family's denoiser, so that their
    names tell the family of an adapter."""

    @property
    def folders(self) -> dict[PartName, str]:
        """Part -> its folder."""
        return {name: part.folder for name, part in self.parts.items()}

    @property
    def components(self) -> dict[PartName, str]:
        """Part -> its name in adapter files."""
        return {name: part.component or part.folder for name, part in self.parts.items()}

    @property
    def adapted(self) -> tuple[PartName, ...]:
        """The parts that can have an adapter."""
        return ("denoiser", *self.trained_encoders)

    @property
    def defaults(self) -> dict[str, Any]:
        """Recipe defaults, `common` and one table per kind."""
        others = ("variants", "cards", "hub")
        return {key: value for key, value in self.data.items() if key not in others}

    @property
    def cards(self) -> Mapping[str, Mapping[str, Any]]:
        """Name of a graphics card -> the rank and batch size that it is said to train."""
        cards: Mapping[str, Mapping[str, Any]] = self.data.get("cards", {})
        return cards

    @property
    def variants(self) -> Mapping[str, Mapping[str, Any]]:
        """Name -> how that kind of base differs from the family: title, names, defaults, …"""
        variants: Mapping[str, Mapping[str, Any]] = self.data.get("variants", {})
        return variants

    @property
    def on_hub(self) -> tuple[HubBase, ...]:
        """Where the hub has well-known bases of it."""
        return tuple(
            HubBase(
                one["id"],
                one.get("licence", self.variants.get(one.get("variant"), {}).get("licence"))
                or self.licence,
                one.get("gated", False),
            )
            for one in self.data.get("hub", ())
        )

    @property
    def architectures(self) -> set[str]:
        """ModelSpec's words for it and its variants."""
        return {self.architecture} | {v.get("architecture", "") for v in self.variants.values()}


@dataclass(frozen=True)
class BaseProfile:
    """What one base says of itself: the family's values, changed by its variant and its
    loraloom.toml."""

    title: str
    native_px: int
    size_multiple_px: int
    max_aspect: float
    defaults: Mapping[str, object] = field(default_factory=dict)
    class_words: Mapping[str, str] = field(default_factory=dict)
    """Kind -> what the base calls such a thing ("person"), for prior preservation."""
    family: str = ""
    """The title of its variant or of its family."""
    prompt_style: PromptStyle | None = None
    licence: str = ""
    architecture: str = ""
    frames: FrameRule | None = None
    source: str = ""
    """The hub's id for it, where it was fetched from there."""
