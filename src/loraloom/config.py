"""Every setting of a training run: the only place where one is defined.

Fields without a default here get theirs from the recipe (train/recipe.py), which knows the base,
the kind and the number of pictures.
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from loraloom.kinds import Kind

Targets = Literal["attention", "blocks", "full"]
"""Sets of modules that every family names."""

AdapterType = Literal["lora", "loha", "lokr", "dora", "oft", "boft"]

Quantisation = Literal["none", "int8", "fp8", "nf4"]


Tree = dict[str, Any]
"""Settings as TOML gives them: tables of tables and values, checked when they become a config."""


class Section(BaseModel):
    """A part of the settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConceptConfig(Section):
    """One of several things that a run learns."""

    folder: Path = Field(description="as data.folder")
    trigger: str = Field("", max_length=100, description="words that call it")
    repeats: int = Field(1, ge=1, le=10_000, description="how often each of its pictures counts")


class DataConfig(Section):
    """The training pictures."""

    folder: Path | None = Field(
        None,
        description="folder of pictures, each with a .txt caption beside it; or a stored set, as "
        "NAME or NAME@SNAPSHOT",
    )
    concepts: tuple[ConceptConfig, ...] = Field(
        (), description="in place of folder: several folders, each with its own trigger and repeats"
    )
    resolution_px: int | None = Field(
        None, ge=64, le=4096, description="side of a square of the same area; none: the base's own"
    )
    frames: int | None = Field(
        None, ge=1, le=1000, description="frames that are used of each clip, from its first, at "
        "the base's own rate; only on bases of video, which have a default"
    )  # fmt: skip
    held_out_fraction: float = Field(
        0.1, ge=0, le=0.5, description="share of pictures kept from training to measure overfitting"
    )
    caption_dropout: float = Field(
        0.05, ge=0, le=1, description="share of draws in which the caption is left empty"
    )
    shuffle_tags: bool = Field(False, description="shuffle the comma-separated parts of captions")
    keep_tags: int = Field(1, ge=0, le=100, description="leading parts that are never shuffled")
    mirror: bool = Field(False, description="also show pictures mirrored left to right")
    mask_floor: float = Field(
        0.0, ge=0, le=1, description="weight of what lies outside a picture's mask; 1: masks are "
        "not used"
    )  # fmt: skip
    mask_prior: float = Field(
        0.0, ge=0, le=10, description="weight of what the base itself predicts outside a mask, so "
        "that it stays as it was there; takes a third more time; 0: nothing is asked there"
    )  # fmt: skip

    @property
    def folders(self) -> tuple[Path, ...]:
        """All that are trained on."""
        own = (self.folder,) if self.folder else ()
        return (*own, *(concept.folder for concept in self.concepts))

    @model_validator(mode="after")
    def _pictures_from_one_place(self) -> DataConfig:
        if bool(self.folder) == bool(self.concepts):
            raise ValueError(
                "pictures come either from data.folder or from [[data.concepts]], one of the two"
            )
        return self


class AdapterConfig(Section):
    """The adapter that is trained."""

    type: AdapterType = Field("lora", description="kind of adapter; docs/adapters.md compares them")
    rank: int | None = Field(
        None, ge=1, le=512, description="rank of the update; for lora, loha, lokr and dora"
    )
    alpha: float | None = Field(
        None, gt=0, le=1024, description="the update is scaled by alpha / rank; has what has a rank"
    )
    ranks: dict[str, Annotated[int, Field(ge=1, le=512)]] = Field(
        {}, description="ranks of some layers, by ending of the module path; their alpha / rank "
        "stays the same"
    )  # fmt: skip
    targets: Targets | list[str] = Field(
        "blocks", description="a preset, or endings of module paths"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapter; lora, dora")
    rslora: bool = Field(
        False, description="scale the update by alpha / sqrt(rank), for high ranks; lora, dora"
    )
    plus_ratio: float = Field(
        1.0, ge=1, le=100, description="learning rate of lora_B over that of lora_A, as in LoRA+, "
        "which takes 16; lora, dora"
    )  # fmt: skip
    init: Literal["zero", "pissa"] = Field(
        "zero", description="where the update starts; pissa: it takes over the strongest part of "
        "the base's weights; lora"
    )  # fmt: skip
    factor: int | None = Field(
        None, ge=0, le=128, description="size of the small Kronecker factor; 0: near the root of "
        "the width; lokr"
    )  # fmt: skip
    block_size: int | None = Field(
        None, ge=2, le=512, description="inputs that are turned together; for oft and boft"
    )

    @property
    def scale(self) -> float:
        """What the update is multiplied by."""
        if self.rank is None or self.alpha is None:
            return 1.0
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @field_validator("targets", mode="before")
    @classmethod
    def _preset_or_endings(cls, value: object) -> object:
        presets: tuple[str, ...] = get_args(Targets)
        listed = isinstance(value, list | tuple) and all(isinstance(end, str) for end in value)
        if not listed and value not in presets:
            near = difflib.get_close_matches(str(value), presets, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(
                f"expected is one of {', '.join(presets)}{hint}, or a list of endings of module "
                "paths"
            )
        return value


class TextEncoderConfig(Section):
    """Training of the text encoder beside the denoiser."""

    ratio: float = Field(
        0.0, ge=0, le=1, description="share of the steps, from the first, that train it too"
    )
    learning_rate: float = Field(5e-5, gt=0, le=1, description="its own learning rate")


OptimiserName = Literal[
    "adamw", "adamw8bit", "adafactor", "prodigy", "lion", "came", "schedulefree"
]


class OptimiserConfig(Section):
    """How the weights follow their gradients."""

    name: OptimiserName = Field(
        "adamw", description="optimiser; adamw8bit and adafactor need less memory, prodigy finds "
        "its rate itself, schedulefree needs no schedule"
    )  # fmt: skip
    learning_rate: float = Field(
        gt=0, le=1, description="peak learning rate of the denoiser; of prodigy a factor, 1"
    )
    weight_decay: float = Field(0.01, ge=0, le=1, description="decoupled weight decay")
    betas: tuple[float, ...] | None = Field(
        None, description="averaging of the moments; came has three, adafactor none"
    )
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")

    @model_validator(mode="after")
    def _betas_in_range(self) -> OptimiserConfig:
        if not all(0 <= beta < 1 for beta in self.betas or ()):
            raise ValueError("all betas must be at least 0 and less than 1")
        return self


class ScheduleConfig(Section):
    """The number of steps and the learning rate along them."""

    steps: int = Field(ge=1, le=1_000_000, description="optimiser steps")
    epochs: int | None = Field(
        None, ge=1, le=10_000, description="in place of steps: how often each picture is seen, on "
        "average; the recipe makes steps of it"
    )  # fmt: skip
    warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate rises")
    name: Literal["cosine", "constant", "linear", "polynomial", "cosine_restarts"] = Field(
        "cosine", description="course after the warm-up"
    )
    power: float | None = Field(
        None, gt=0, le=10, description="of polynomial: the remaining share of the steps to this"
    )
    cycles: int | None = Field(
        None, ge=1, le=1000, description="of cosine_restarts: how often it falls"
    )


class ObjectiveConfig(Section):
    """The loss. Bases of discrete diffusion have the settings up to zero_terminal_snr, bases of
    flow matching those from times to shift; the recipe fills in those that the base has."""

    min_snr_gamma: float | None = Field(
        None, ge=0, description="caps the weight of nearly clean timesteps; 0: all weigh one"
    )
    noise_offset: float | None = Field(
        None, ge=0, le=1, description="noise per channel, for dark pictures"
    )
    debiased: bool | None = Field(
        None, description="weigh timesteps by 1 / sqrt(SNR), in place of min_snr_gamma"
    )
    zero_terminal_snr: bool | None = Field(
        None, description="for bases of v-prediction: the last timestep is pure noise, which lets "
        "pictures be wholly dark or bright; draw with the same schedule"
    )  # fmt: skip
    times: Literal["uniform", "logit_normal"] | None = Field(
        None, description="how times from 0, clean, to 1, noise, are drawn; logit_normal with mean "
        "0 is elsewhere called sigmoid"
    )  # fmt: skip
    logit_mean: float | None = Field(
        None, ge=-10, le=10, description="mean of log(t / (1 - t)), for logit_normal"
    )
    logit_std: float | None = Field(
        None, gt=0, le=10, description="standard deviation of it, for logit_normal"
    )
    shift: Annotated[float, Field(gt=0, le=100)] | Literal["resolution"] | None = Field(
        None, description="the drawn odds of noise, t / (1 - t), are multiplied by this; "
        "resolution: by what the base's scheduler says for the picture's size"
    )  # fmt: skip
    loss: Literal["mse", "huber"] | None = Field(
        None, description="of the difference: its square; or huber, which forgives faulty pictures"
    )
    huber_c: float | None = Field(
        None, gt=0, le=10, description="of huber: differences above this count linearly"
    )
    huber_schedule: Literal["constant", "snr"] | None = Field(
        None, description="snr: huber_c at pure noise, growing to 1 where the picture is clean"
    )


class PriorConfig(Section):
    """Prior preservation: pictures of the class by the base itself, mixed in."""

    images: int = Field(0, ge=0, le=10_000, description="number of class pictures; 0: off")
    folder: Path | None = Field(
        None,
        description="folder of class pictures with captions, as `dataset regularize` writes it; "
        "none: they are drawn before the first step",
    )
    weight: float = Field(1.0, ge=0, le=10, description="weight of their loss")
    share: float = Field(0.25, ge=0, le=0.9, description="their share of each batch")
    class_prompt: str = Field(
        "", description="one prompt for all; empty: the captions with the trigger as class words"
    )
    class_words: str = Field(
        "", description="what stands for the trigger in those captions; empty: the words behind "
        "the first of each trigger, as in ohwx woman"
    )  # fmt: skip
    steps: int = Field(12, ge=1, le=200, description="denoising steps a class picture")
    guidance: float = Field(5.0, ge=0, le=50, description="guidance scale of class pictures")


class ValidationConfig(Section):
    """Loss with fixed noise while training."""

    every_steps: int = Field(ge=0, description="0: never")
    timesteps: tuple[float, ...] = Field(
        (0.1, 0.3, 0.5, 0.7, 0.9), min_length=1, description="fractions of the way to noise"
    )
    draws: int = Field(1, ge=1, le=64, description="noise draws a timestep")
    subset: int = Field(4, ge=1, le=1000, description="training pictures that are measured too")

    @model_validator(mode="after")
    def _fractions(self) -> ValidationConfig:
        if not all(0 <= t <= 1 for t in self.timesteps):
            raise ValueError("each of the timesteps must be from 0 to 1")
        return self


class SamplesConfig(Section):
    """Pictures of fixed prompts while training."""

    prompts: tuple[str, ...] = Field((), description="one picture each")
    every_steps: int = Field(0, ge=0, description="0: never")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the first prompt, then one more each")
    guidance: float = Field(5.0, ge=0, le=50, description="guidance scale")
    steps: int = Field(20, ge=1, le=200, description="denoising steps")
    frames: int | None = Field(
        None, ge=1, le=1000, description="frames of a sample, on a base of video; 1: a picture; "
        "none: as many as are trained"
    )  # fmt: skip


class CheckpointConfig(Section):
    """What a run can resume from."""

    every_steps: int = Field(100, ge=1, description="steps between checkpoints")
    keep: int = Field(2, ge=1, le=100, description="checkpoints kept")


class AboutConfig(Section):
    """What the adapter's file says of it, and the library; nothing is learnt from it."""

    title: str = Field("", max_length=200, description="its name; none: the trigger")
    description: str = Field("", max_length=5000, description="for those who will use it")
    tags: str = Field("", max_length=500, description="words to find it by, with commas")
    author: str = Field("", max_length=200, description="who made it")
    licence: str = Field("", max_length=200, description="what others may do with it")


class TrainConfig(Section):
    """A complete training run; read it from TOML with `read_toml`, complete it with the recipe."""

    base: str = Field("starter", description="name or folder of the base model")
    kind: Kind = Field(description="what the adapter learns")
    trigger: str = Field("", max_length=100, description="words that call what was learnt")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything random in the run")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the frozen base; the adapter is always trained in float32"
    )
    quantisation: Quantisation = Field(
        "none", description="hold the frozen base in 8 or 4 bits a weight: int8, fp8, or nf4, "
        "which needs bitsandbytes; docs/training.md compares them"
    )  # fmt: skip
    shard_base: bool = Field(
        False, description="of several processes each holds a part of the base, for bases that one "
        "GPU cannot hold; slower"
    )  # fmt: skip
    clip_skip: int = Field(0, ge=0, le=10, description="last text encoder layers left out")
    expert: Literal["high_noise", "low_noise"] | None = Field(
        None, description="which denoiser is trained, of a base that has one for each half of the "
        "times"
    )  # fmt: skip
    batch_size: int = Field(ge=1, le=1024, description="pictures that are denoised together")
    accumulation: int = Field(1, ge=1, le=1024, description="batches an optimiser step")
    gradient_checkpointing: bool = Field(
        False, description="compute parts twice rather than keep them: less memory, a third slower"
    )
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="also keep an average of the adapter over the steps, such as "
        "0.999, in files of its own; 0: off"
    )  # fmt: skip
    data: DataConfig
    adapter: AdapterConfig
    text_encoder: TextEncoderConfig = TextEncoderConfig.model_construct()
    optimiser: OptimiserConfig
    schedule: ScheduleConfig
    objective: ObjectiveConfig = ObjectiveConfig.model_construct()
    prior: PriorConfig = PriorConfig.model_construct()
    validation: ValidationConfig
    samples: SamplesConfig = SamplesConfig.model_construct()
    checkpoint: CheckpointConfig = CheckpointConfig.model_construct()
    about: AboutConfig = AboutConfig.model_construct()

    @property
    def effective_learning_rate(self) -> float:
        """Learning rate x alpha / rank: what compares across trainers."""
        return self.optimiser.learning_rate * self.adapter.scale

    @property
    def triggers(self) -> tuple[str, ...]:
        """The words that call what is learnt, one for each concept that has some."""
        own = [self.trigger, *(concept.trigger for concept in self.data.concepts)]
        return tuple(filter(None, own))

    @model_validator(mode="after")
    def _triggers_in_one_place(self) -> TrainConfig:
        if self.trigger and self.data.concepts:
            raise ValueError("each of data.concepts has its own trigger; leave this one out")
        return self

    def shaping(self) -> Tree:
        """The settings that decide the adapter's bytes: not where things lie, nor what is drawn or
        saved on the way."""
        return self.model_dump(
            mode="json",
            exclude={
                "base": True,
                "data": {"folder": True, "concepts": {"__all__": {"folder": True}}},
                "samples": True,
                "checkpoint": True,
                "about": True,
            },
        )
