"""Adapters in a pipeline: plain LoRAs through diffusers, the other kinds merged into the weights.

A base with two experts has a denoiser for each, and an adapter works in the one that it is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from loraloom.adapters.check import check_keys, weight_shapes
from loraloom.adapters.file import read
from loraloom.adapters.keys import to_diffusers
from loraloom.adapters.state import each, with_unit_scale
from loraloom.errors import AdapterNameUnknown, ConfigInvalid
from loraloom.families.base import Family
from loraloom.families.parts import Parts
from loraloom.generate.merged import MergedAdapters, layers_of


class FittedAdapters:
    """The adapters of a pipeline over `parts`, by the caller's names."""

    def __init__(self, family: Family, parts: Parts, pipeline: Any) -> None:
        self._family = family
        # Diffusers gave some pipelines no loader; their transformer has one.
        self._host = pipeline if hasattr(pipeline, "load_lora_weights") else pipeline.transformer
        info = family.info
        models: dict[str, nn.Module] = {
            info.components[part]: getattr(parts, part) for part in info.adapted
        }
        self._shapes = {name: weight_shapes(model) for name, model in models.items()}
        # Expert -> its layers; "" on a base of one denoiser.
        self._merged = {
            expert: MergedAdapters({name: layers_of(model) for name, model in of.items()})
            for expert, of in _by_expert(family, parts, models).items()
        }
        # The caller's name -> the name inside the pipeline, or None where it is merged.
        self._loaded: dict[str, str | None] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the adapters so far."""
        return tuple(self._loaded)

    def load(self, path: Path, name: str, expert: str = "") -> tuple[str, ...]:
        """Load a file of any layout; all adapters loaded then work at scale 1.

        `expert`: where it is to work; "" leaves that to the file, and to all where it names none.
        Returns the experts that it works in, () on a base of one denoiser. Raises
        AdapterUnreadable, AdapterKeysUnknown (it is for another base), AdapterNameUnknown (the name
        is taken) and ConfigInvalid (there is no such expert).
        """
        if name in self._loaded:
            raise AdapterNameUnknown(f"An adapter named {name!r} is already loaded.")
        self._check_expert(path, expert)
        check_keys(path, self._shapes)
        state, metadata = read(path, self._shapes)
        experts = (expert,) if expert else self._family.experts_of(metadata)
        if all(weights.kind == "lora" for _, _, weights in each(state)):
            inner = f"adapter_{len(self._loaded)}"
            # Scale folded in: diffusers mixes up alphas that differ between modules.
            tensors = to_diffusers(with_unit_scale(state))
            load = getattr(self._host, "load_lora_weights", None) or self._host.load_lora_adapter
            for one in experts or ("",):
                load(tensors, adapter_name=inner, **self._family.loading(one))
            self._loaded[name] = inner
        else:  # diffusers loads none of the other kinds rightly at each scale
            for one in experts or ("",):
                self._merged[one].add(name, state)
            self._loaded[name] = None
        self.set_scales(dict.fromkeys(self._loaded, 1.0))
        return experts

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
        for merged in self._merged.values():
            merged.set_scales(scales)
        inside = {name: inner for name, inner in self._loaded.items() if inner}
        if inside:
            weights = [scales.get(name, 0.0) for name in inside]
            self._host.set_adapters(list(inside.values()), weights)

    def _check_expert(self, path: Path, expert: str) -> None:
        info = self._family.info
        if expert and expert not in info.experts:
            there = " or ".join(info.experts)
            advice = f"take {there}" if there else "it has one denoiser; leave the expert out"
            raise ConfigInvalid(
                f"{path.name} cannot work in {expert!r}, which {info.title} has not: {advice}."
            )


def _by_expert(
    family: Family, parts: Parts, models: Mapping[str, nn.Module]
) -> dict[str, dict[str, nn.Module]]:
    """Expert -> component in adapter files -> the model; an expert is a denoiser alone."""
    info = family.info
    if not info.experts:
        return {"": dict(models)}
    component = info.components["denoiser"]
    denoisers = (parts.denoiser, parts.denoiser_2)
    return {e: {component: one} for e, one in zip(info.experts, denoisers, strict=True)}
