"""A base held in memory, with adapters that are switched and mixed between pictures."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from loraloom import families
from loraloom.adapters.check import check_keys, weight_shapes
from loraloom.adapters.file import read
from loraloom.adapters.keys import to_diffusers
from loraloom.adapters.state import each, with_unit_scale
from loraloom.config import SamplesConfig, merge
from loraloom.errors import AdapterNameUnknown, ConfigInvalid, PromptEmpty, SizeInvalid
from loraloom.families.base import Drawing, Embeds
from loraloom.families.info import BaseProfile, FamilyInfo
from loraloom.generate.merged import MergedAdapters, layers_of
from loraloom.settings import resolve_base
from loraloom.train.precision import choose_device


@dataclass(frozen=True)
class Request:
    """One picture to draw. Guidance, steps, width and height default to the base's own."""

    prompt: str
    seed: int
    negative_prompt: str = ""
    guidance: float | None = None
    steps: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    clip_skip: int = 0
    """Last text encoder layers left out, as in training."""


class Generator:
    """A base model ready to draw, on the GPU if there is one.

    Raises BaseUnknown when `base` is neither a known name nor a folder a family recognises.
    """

    def __init__(
        self, base: str | Path, *, dtype: torch.dtype = torch.float32, device: str | None = None
    ) -> None:
        self._family = families.detect(base)
        folder = resolve_base(base)
        self._profile = self._family.profile(folder)
        self._parts = self._family.load(folder, dtype=dtype, device=device or choose_device())
        info = self._family.info
        self._shapes = {
            info.components[part]: weight_shapes(getattr(self._parts, part))
            for part in info.adapted
        }
        self._merged = MergedAdapters(
            {info.components[part]: layers_of(getattr(self._parts, part)) for part in info.adapted}
        )
        self._pipeline: Any = self._family.pipeline(self._parts)
        self._samples = sampling(info, self._profile)
        # The caller's name -> the name inside the pipeline, or None where it is merged.
        self._loaded: dict[str, str | None] = {}

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the adapters loaded so far."""
        return tuple(self._loaded)

    def load_adapter(self, path: Path, name: str) -> None:
        """Load a file of any layout; all adapters loaded then work at scale 1.

        Raises AdapterUnreadable, AdapterKeysUnknown (it is for another base) and
        AdapterNameUnknown (the name is taken).
        """
        if name in self._loaded:
            raise AdapterNameUnknown(f"An adapter named {name!r} is already loaded.")
        check_keys(path, self._shapes)
        state, metadata = read(path, self._shapes)
        if all(weights.kind == "lora" for _, _, weights in each(state)):
            inner = f"adapter_{len(self._loaded)}"
            # Scale folded in: diffusers mixes up alphas that differ between modules.
            tensors = to_diffusers(with_unit_scale(state))
            host = self._loads_lora
            load = getattr(host, "load_lora_weights", None) or host.load_lora_adapter
            load(tensors, adapter_name=inner, **self._family.loading(metadata))
            self._loaded[name] = inner
        else:  # diffusers loads none of the other kinds rightly at each scale
            self._merged.add(name, state)
            self._loaded[name] = None
        self.set_scales(dict.fromkeys(self._loaded, 1.0))

    def set_scales(self, scales: Mapping[str, float]) -> None:
        """How strongly each adapter acts: 1 as trained, 0 off. One that is not named is off.

        Raises AdapterNameUnknown.
        """
        unknown = [name for name in scales if name not in self._loaded]
        if unknown:
            loaded = ", ".join(self._loaded) or "none"
            raise AdapterNameUnknown(
                f"No adapter named {unknown[0]!r} is loaded (loaded: {loaded})."
            )
        if self._loaded:
            self._merged.set_scales(scales)
            inside = {name: inner for name, inner in self._loaded.items() if inner}
            if inside:
                weights = [scales.get(name, 0.0) for name in inside]
                self._loads_lora.set_adapters(list(inside.values()), weights)

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], batch_size: int = 8) -> list[Image.Image]:
        """The pictures, in the order of `requests`; a seed gives the same noise in any batch.

        Raises PromptEmpty, SizeInvalid and ConfigInvalid (clip_skip, negative_prompt) before
        anything is drawn.
        """
        requests = [self.complete(request) for request in requests]
        embeds = [self._embeds(request) for request in requests]
        pictures: dict[int, Image.Image] = {}
        keys = [_batch_key(*pair) for pair in zip(requests, embeds, strict=True)]
        for batch in _batches(keys, batch_size):
            drawn = self._draw([requests[i] for i in batch], [embeds[i] for i in batch])
            pictures.update(zip(batch, drawn, strict=True))
        return [pictures[i] for i in range(len(requests))]

    def complete(self, request: Request) -> Request:
        """The request with what it left to the base. Raises what is wrong with it."""
        self._check(request)
        own, native = self._samples, self._profile.native_px
        return replace(
            request,
            guidance=own.guidance if request.guidance is None else request.guidance,
            steps=request.steps or own.steps,
            width_px=request.width_px or native,
            height_px=request.height_px or native,
        )

    def _embeds(self, request: Request) -> Embeds:
        """Each request's own, so that its length never depends on what it is drawn with."""
        return self._family.prompt_embeds(
            self._parts, [request.prompt], [request.negative_prompt], clip_skip=request.clip_skip
        )

    def _draw(self, batch: Sequence[Request], embeds: Sequence[Embeds]) -> list[Image.Image]:
        first = batch[0]
        assert first.guidance is not None and first.steps, "see `complete`"
        assert first.width_px and first.height_px
        return self._family.draw(
            self._pipeline,
            {name: _joined([one[name] for one in embeds]) for name in embeds[0]},
            Drawing(first.guidance, first.steps, first.width_px, first.height_px),
            [torch.Generator().manual_seed(request.seed) for request in batch],
        )

    def _check(self, request: Request) -> None:
        if not request.prompt.strip():
            raise PromptEmpty("The prompt is empty. Say what the picture should show.")
        title, info = self._profile.family, self._family.info
        if request.negative_prompt.strip() and not info.negative_prompt:
            raise ConfigInvalid(f"A negative prompt has no effect on {title}: leave it out.")
        if request.clip_skip and not info.clip_skip:
            raise ConfigInvalid(
                f"clip_skip = {request.clip_skip} has no effect on {title}, whose text encoders "
                "are taken whole: leave it out."
            )
        for side_px in (request.width_px, request.height_px):
            if side_px is not None and (side_px <= 0 or side_px % self._multiple_px):
                raise SizeInvalid(
                    f"A side of {side_px} px is not possible with this base: use a positive "
                    f"multiple of {self._multiple_px}."
                )

    @property
    def _loads_lora(self) -> Any:
        """The pipeline, or its transformer where diffusers gave the pipeline no loader."""
        pipe = self._pipeline
        return pipe if hasattr(pipe, "load_lora_weights") else pipe.transformer

    @property
    def _multiple_px(self) -> int:
        factor = self._family.latent_format(self._parts.vae).factor
        return factor * self._family.info.patch


def sampling(info: FamilyInfo, profile: BaseProfile) -> SamplesConfig:
    """How pictures are drawn from a base unless one says otherwise."""
    family = [info.defaults, info.defaults.get("common", {})]
    base = [profile.defaults, profile.defaults.get("common", {})]
    tables = [tree.get("samples", {}) for tree in (*family, *base)]
    return SamplesConfig.model_validate(merge(*tables))


def _batch_key(request: Request, embeds: Embeds) -> Hashable:
    """Equal for requests that one call of the pipeline can draw together."""
    shapes = tuple(tuple(rows.shape) for rows in embeds.values() if isinstance(rows, Tensor))
    return request.guidance, request.steps, request.width_px, request.height_px, shapes


def _joined(rows: Sequence[Tensor | list[Tensor]]) -> Tensor | list[Tensor]:
    """One pipeline argument for several prompts."""
    tensors = [one for one in rows if isinstance(one, Tensor)]
    lists = [one for one in rows if isinstance(one, list)]
    return torch.cat(tensors) if tensors else list(chain.from_iterable(lists))


def _batches(keys: Sequence[Hashable], size: int) -> Iterator[list[int]]:
    """Positions of equal keys, at most `size` together."""
    groups: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]
