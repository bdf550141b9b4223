"""Will it fit, and how long will it take? Estimated from shapes before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loraloom import kinds
from loraloom.config import Quantisation, TrainConfig
from loraloom.dataset.buckets import Bucket
from loraloom.families import weights
from loraloom.families.base import Family
from loraloom.families.info import BaseProfile
from loraloom.families.parts import text_parts
from loraloom.train import drawing, encoders, footprint, packed, quantised, sharded, tuners
from loraloom.train.cache import in_groups
from loraloom.train.machine import MIB

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
    samples_mib: int
    """What drawing samples takes beside base and adapter; 0 where none are drawn."""
    reserve_mib: int
    encoding_mib: int
    """What encoding pictures and captions takes, before the denoiser is loaded."""
    loading_mib: int
    """What the denoiser takes while it is loaded."""
    flops_a_step: float
    disk_mib: int
    """What checkpoints and adapters take in the run's folder at most; the cache of latents and
    conditions comes beside, by the number of pictures."""

    @property
    def peak_mib(self) -> int:
        """The most that is held at once."""
        training = self.base_mib + self.adapter_mib + max(self.activations_mib, self.samples_mib)
        return self.reserve_mib + max(training, self.encoding_mib, self.loading_mib)

    def seconds_a_step(self, flops_per_s: float) -> float:
        """At a speed that a large product reaches; see machine.py."""
        return self.flops_a_step / (flops_per_s * EFFICIENCY)


class Outline:
    """A base with an adapter as shapes only; made once, asked for several settings.

    Raises NothingToTrain and ConfigInvalid where adapter.targets or adapter.ranks name layers that
    the base does not have.
    """

    def __init__(
        self,
        config: TrainConfig,
        base: Path,
        family: Family,
        profile: BaseProfile,
        *,
        device: str,
        dtype: torch.dtype,
        shares: int = 1,
    ) -> None:
        """`shares`: among how many processes the base is shared out."""
        info = family.info
        self._family, self._profile, self._device, self._dtype = family, profile, device, dtype
        self._encoded: dict[Bucket, tuple[tuple[int, ...], int]] = {}
        # PiSSA begins at the base's own weights: of shapes alone there are none to begin at.
        adapter = config.adapter.model_copy(update={"init": "zero"})
        self._denoiser = weights.empty(info.parts["denoiser"], base, dtype)
        self._vae: Any = weights.empty(info.parts["vae"], base, torch.float32)
        self._base = {name: tuple(p.shape) for name, p in self._denoiser.named_parameters()}
        self._shares = shares
        self._buffer_bytes: int = sum(b.nbytes for b in self._denoiser.buffers())
        self._vae_bytes: int = sum(p.nbytes for p in self._vae.parameters())
        self._texts = {
            part: weights.shapes(base / info.folders[part])
            for part in text_parts(info.parts)
            if part.startswith("text_")
        }
        targets = tuners.targets_of(adapter, info, self._denoiser)
        self._trained = encoders.insert(self._denoiser, adapter, targets)
        self._encoders = []
        if round(config.text_encoder.ratio * config.schedule.steps):
            self._encoders = [
                weights.empty(info.parts[part], base, dtype) for part in info.trained_encoders
            ]
        for encoder in self._encoders:
            self._trained += encoders.insert(encoder, adapter, info.text_encoder_targets)
        tuners.check_ranks(adapter, [self._denoiser, *self._encoders])

    def estimate(self, config: TrainConfig) -> Estimate:
        """For settings that differ in batch, resolution, optimiser, checkpointing or quantisation
        only."""
        quantisation, gpu = config.quantisation, self._device == "cuda"
        bucket = _square(config, self._profile)
        latent_shape, encoding_bytes = self.encoded(bucket)
        found = footprint.measure(
            self._family,
            self._denoiser,
            bucket,
            config.batch_size,
            latent_shape=latent_shape,
            checkpointing=config.gradient_checkpointing,
            gpu=gpu,
        )
        activations = found.activation_bytes + self._unpacked(quantisation)
        activations += sum(
            encoders.kept_bytes(encoder, config.batch_size, self._dtype, gpu=gpu)
            for encoder in self._encoders
        )
        passes = 3 if config.gradient_checkpointing else 2  # the base's weights need no gradients
        base_bytes, whole_bytes = self._denoiser_bytes(quantisation), self._denoiser_bytes("none")
        if self._device == "cpu" and not config.shard_base:
            base_bytes += packed.packed_bytes(self._denoiser)
        if self._shares > 1:
            base_bytes = sharded.held_bytes(self._denoiser, whole_bytes, self._shares)
        if self._encoders:
            base_bytes += self._text_bytes(quantisation, self._dtype)
        # On a CPU a part is there as it is on the disk before it is made smaller.
        first = quantisation if gpu else "none"
        exact = self._dtype if self._family.info.large_texts else torch.float32
        texts = 0 if self._encoders else self._text_bytes(first, exact)
        return Estimate(
            base_mib=_mib(base_bytes),
            adapter_mib=_mib(self._trained * _bytes_a_weight(config)),
            activations_mib=_mib(activations * _FRAGMENTED[self._device]),
            samples_mib=_mib(self._samples_bytes(config)),
            reserve_mib=_RESERVE_MIB[self._device],
            encoding_mib=_mib(max(texts, self._vae_bytes + encoding_bytes)),
            loading_mib=_mib(base_bytes if gpu else whole_bytes),
            flops_a_step=float(found.forward_flops * passes * config.accumulation),
            disk_mib=_mib(self._trained * _written_a_weight(config)),
        )

    def _samples_bytes(self, config: TrainConfig) -> int:
        """The parts that are loaded for samples, and what drawing one holds."""
        samples, info = config.samples, self._family.info
        if not (samples.prompts and samples.every_steps):
            return 0
        side = self._profile.native_px
        size = with_data(config, resolution_px=side)
        if samples.frames and self._profile.frames:
            size = with_data(size, frames=samples.frames)
        bucket = _square(size, self._profile)
        latent_shape, _ = self.encoded(bucket)
        held = drawing.held_bytes(
            self._family, self._denoiser, self._vae, bucket, latent_shape,
            rows=2 if info.negative_prompt and samples.guidance > 1 else 1,
            gpu=self._device == "cuda",
        )  # fmt: skip
        held += self._unpacked(config.quantisation)
        loaded = self._vae_bytes + held * _FRAGMENTED[self._device]
        if "denoiser_2" in info.parts:
            loaded += self._denoiser_bytes(config.quantisation)
        return round(loaded)

    def _denoiser_bytes(self, quantisation: Quantisation) -> int:
        return quantised.held_bytes(self._base, quantisation, self._dtype) + self._buffer_bytes

    def _unpacked(self, quantisation: Quantisation) -> int:
        return quantised.unpacked_bytes(self._base, quantisation, self._dtype)

    def _text_bytes(self, quantisation: Quantisation, dtype: torch.dtype) -> int:
        packed = quantised.quantised_parts(self._family.info)
        return sum(
            quantised.held_bytes(shapes, quantisation if part in packed else "none", dtype)
            for part, shapes in self._texts.items()
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


def _square(config: TrainConfig, profile: BaseProfile) -> Bucket:
    """The size of a square picture, or clip of all its frames."""
    side, multiple = config.data.resolution_px or profile.native_px, profile.size_multiple_px
    side = max(side - side % multiple, multiple)
    return Bucket(side, side, frames_of(config, profile))


def frames_of(config: TrainConfig, profile: BaseProfile) -> int:
    """How many frames of each clip are trained on; 1 on a base of pictures."""
    return config.data.frames or profile.frames.most if profile.frames else 1


def with_data(config: TrainConfig, **changed: int) -> TrainConfig:
    """The settings with another data.resolution_px or data.frames."""
    return config.model_copy(update={"data": config.data.model_copy(update=changed)})


def _bytes_a_weight(config: TrainConfig) -> float:
    """Weight and gradient in float32, the optimiser's state, the average, PiSSA's start."""
    state = float(kinds.read_data("optimisers")[config.optimiser.name]["state_bytes"])
    kept = [config.ema_decay > 0, config.adapter.init == "pissa"]
    return 4 + 4 + state + 4 * sum(kept)


def _written_a_weight(config: TrainConfig) -> float:
    """Bytes of checkpoints (one more than are kept, while it is written) and of adapters: one a
    validation, and those of the end in two layouts and, but for LoRA, as peft has them. What PiSSA
    began at stands in all of them."""
    state = float(kinds.read_data("optimisers")[config.optimiser.name]["state_bytes"])
    steps, every = config.schedule.steps, config.validation.every_steps
    checkpoints = min(config.checkpoint.keep + 1, -(-steps // config.checkpoint.every_steps))
    adapters = -(-steps // every) if every else 1
    whole = 8 if config.adapter.init == "pissa" else 4
    each = whole * (2 if config.ema_decay > 0 else 1)
    ends = 2 if config.adapter.type in ("lora", "dora") else 3
    held = state + whole + (4 if config.ema_decay > 0 else 0)
    return checkpoints * held + adapters * each + ends * whole + each - whole


def _mib(size: float) -> int:
    return round(size / MIB)
