"""Will it fit, and how long will it take? Estimated from shapes before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from loraloom import kinds
from loraloom.config import TrainConfig
from loraloom.dataset.buckets import Bucket
from loraloom.families import weights
from loraloom.families.base import Family
from loraloom.families.info import BaseProfile
from loraloom.families.parts import text_parts
from loraloom.train import footprint, lora, tuners
from loraloom.train.cache import in_groups
from loraloom.train.machine import MIB
from loraloom.train.streams import stream

_RESERVE_MIB = {"cuda": 700, "cpu": 900}
"""The driver's context and kernels; on a CPU the interpreter with its libraries."""
_FRAGMENTED = {"cuda": 1.1, "cpu": 1.0}
"""What an allocator holds for each byte of activations."""
EFFICIENCY = 0.4
"""Share of a plain product's speed that a whole step reaches."""


@dataclass(frozen=True)
class Estimate:
    """The memory of a run in MiB, and what one of its steps computes."""

    base_mib: int
    adapter_mib: int
    """With gradients, the optimiser's state and the average."""
    activations_mib: int
    reserve_mib: int
    encoding_mib: int
    """What encoding pictures and captions takes, before the denoiser is loaded."""
    flops_a_step: float

    @property
    def peak_mib(self) -> int:
        """The most that is held at once."""
        training = self.base_mib + self.adapter_mib + self.activations_mib
        return self.reserve_mib + max(training, self.encoding_mib)

    def seconds_a_step(self, flops_per_s: float) -> float:
        """At a speed that a large product reaches; see machine.py."""
        return self.flops_a_step / (flops_per_s * EFFICIENCY)


class Outline:
    """A base with an adapter as shapes only; made once, asked for several settings."""

    def __init__(
        self,
        config: TrainConfig,
        base: Path,
        family: Family,
        profile: BaseProfile,
        *,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        info = family.info
        self._family, self._profile, self._device = family, profile, device
        self._encoded: dict[Bucket, tuple[tuple[int, ...], int]] = {}
        # PiSSA begins at the base's own weights: of shapes alone there are none to begin at.
        adapter = config.adapter.model_copy(update={"init": "zero"})
        self._denoiser = weights.empty(info.parts["denoiser"], base, dtype)
        self._vae: Any = weights.empty(info.parts["vae"], base, torch.float32)
        targets = tuners.targets_of(adapter, info, self._denoiser)
        with torch.device("meta"), footprint.Unset():
            lora.inject(self._denoiser, adapter, targets, stream(0))
        trained = [weight for weight in self._denoiser.parameters() if weight.requires_grad]
        self._trained = sum(weight.numel() for weight in trained)
        for weight in trained:
            weight.data = weight.data.to(dtype)  # as autocast has them in each product
        self._base_bytes = dtype.itemsize * sum(
            p.numel() for p in self._denoiser.parameters() if not p.requires_grad
        )
        self._base_bytes += sum(b.numel() * b.itemsize for b in self._denoiser.buffers())
        exact = torch.float32.itemsize
        texts = sum(
            weights.count(base / info.folders[part])
            for part in text_parts(info.parts)
            if part.startswith("text_")
        )
        self._text_bytes = texts * (dtype.itemsize if info.large_texts else exact)
        self._vae_bytes = exact * sum(p.numel() for p in self._vae.parameters())

    def estimate(self, config: TrainConfig) -> Estimate:
        """For settings that differ in batch, resolution, optimiser or checkpointing only."""
        bucket = _square(config, self._profile)
        latent_shape, encoding_bytes = self.encoded(bucket)
        found = footprint.measure(
            self._family,
            self._denoiser,
            bucket,
            config.batch_size,
            latent_shape=latent_shape,
            checkpointing=config.gradient_checkpointing,
            gpu=self._device == "cuda",
        )
        trains_text = config.text_encoder.ratio > 0
        passes = 3 if config.gradient_checkpointing else 2  # the base's weights need no gradients
        return Estimate(
            base_mib=_mib(self._base_bytes + (self._text_bytes if trains_text else 0)),
            adapter_mib=_mib(self._trained * _bytes_a_weight(config)),
            activations_mib=_mib(found.activation_bytes * _FRAGMENTED[self._device]),
            reserve_mib=_RESERVE_MIB[self._device],
            encoding_mib=_mib(max(self._text_bytes, self._vae_bytes + encoding_bytes)),
            flops_a_step=float(found.forward_flops * passes * config.accumulation),
        )

    def encoded(self, bucket: Bucket) -> tuple[tuple[int, ...], int]:
        """The shape of a picture's latents (C, h, w), of a clip's (C, f, h, w), and how many bytes
        it takes to encode one; measured once a size."""
        if bucket not in self._encoded:
            self._encoded[bucket] = self._encode(bucket)
        return self._encoded[bucket]

    def _encode(self, bucket: Bucket) -> tuple[tuple[int, ...], int]:
        rule = self._profile.frames
        frames = [bucket.frames] if rule else []
        with torch.no_grad(), torch.device("meta"), footprint.Held() as held:
            pixels = torch.empty(1, 3, *frames, bucket.height_px, bucket.width_px)
            mean, _ = self._family.encode_image(self._vae, pixels)
        if rule:
            mean = in_groups(mean, rule.group)
        return tuple(mean.shape[1:]), held.peak_bytes


@dataclass(frozen=True)
class Measure:
    """A way to need less, and what it costs; each comes on top of those before it."""

    name: str
    cost: str
    config: TrainConfig
    settings: tuple[str, ...] = ()
    """As --set takes them."""


def measures(config: TrainConfig, profile: BaseProfile) -> list[Measure]:
    """From the settings as they are, by what costs least first."""
    found = [Measure("as it is", "", config)]

    def add(name: str, cost: str, changed: TrainConfig, *settings: str) -> None:
        found.append(Measure(name, cost, changed, (*found[-1].settings, *settings)))

    if not config.gradient_checkpointing:
        config = config.model_copy(update={"gradient_checkpointing": True})
        add("gradient checkpointing", "steps take a third longer", config,
            "gradient_checkpointing=true")  # fmt: skip
    if config.optimiser.name == "adamw":
        small = config.optimiser.model_copy(update={"name": "adamw8bit"})
        config = config.model_copy(update={"optimiser": small})
        add("8-bit optimiser", "hardly less exact; needs bitsandbytes", config,
            "optimiser.name=adamw8bit")  # fmt: skip
    if config.batch_size > 1:
        pictures = config.batch_size * config.accumulation
        config = config.model_copy(update={"batch_size": 1, "accumulation": pictures})
        add("smaller batch with accumulation", "the same learning, in slower steps", config,
            "batch_size=1", f"accumulation={pictures}")  # fmt: skip
    rule = profile.frames
    if rule:
        fewer = rule.fit((_frames(config, profile) + 1) // 2)
        if fewer:
            config = with_data(config, frames=fewer)
            add(f"clips of {fewer} frames", "longer movements are not learnt", config,
                f"data.frames={fewer}")  # fmt: skip
    side = config.data.resolution_px or profile.native_px
    multiple = profile.size_multiple_px
    for share in (0.75, 0.5):
        lower = int(side * share) // multiple * multiple
        if lower >= multiple:
            config = with_data(config, resolution_px=lower)
            add(f"resolution of {lower} px", "less detail is learnt", config,
                f"data.resolution_px={lower}")  # fmt: skip
            found[-1] = replace(found[-1], settings=_last_of_each(found[-1].settings))
    return found


def advice(config: TrainConfig, profile: BaseProfile) -> str:
    """What could be tried, in order, in one sentence."""
    steps = [f"{m.name} (--set {m.settings[-1]}: {m.cost})" for m in measures(config, profile)[1:]]
    return "Try in this order: " + "; ".join(steps) + "."


def _square(config: TrainConfig, profile: BaseProfile) -> Bucket:
    """The size of a square picture, or clip of all its frames."""
    side, multiple = config.data.resolution_px or profile.native_px, profile.size_multiple_px
    side = max(side - side % multiple, multiple)
    return Bucket(side, side, _frames(config, profile))


def _frames(config: TrainConfig, profile: BaseProfile) -> int:
    return config.data.frames or profile.frames.most if profile.frames else 1


def with_data(config: TrainConfig, **changed: int) -> TrainConfig:
    """The settings with another data.resolution_px or data.frames."""
    return config.model_copy(update={"data": config.data.model_copy(update=changed)})


def _bytes_a_weight(config: TrainConfig) -> float:
    """Weight and gradient in float32, the optimiser's state, the average, PiSSA's start."""
    state = float(kinds.read_data("optimisers")[config.optimiser.name]["state_bytes"])
    kept = [config.ema_decay > 0, config.adapter.init == "pissa"]
    return 4 + 4 + state + 4 * sum(kept)


def _last_of_each(settings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({text.partition("=")[0]: text for text in settings}.values())


def _mib(size: float) -> int:
    return round(size / MIB)
