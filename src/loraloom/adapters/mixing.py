"""New adapters out of others: weighted sums, other ranks, the difference of two bases."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loraloom.adapters import low_rank
from loraloom.adapters.base_weights import BaseWeights
from loraloom.adapters.low_rank import Kept
from loraloom.adapters.state import AdapterState, each
from loraloom.adapters.weights import LoraWeights, Weights
from loraloom.config import Targets
from loraloom.errors import AdapterEditInvalid
from loraloom.train.tuners import pattern

BaseWeight = Callable[[str, str], Tensor]
"""(component, module path) -> the base's weight."""


@dataclass(frozen=True)
class Approximation:
    """An adapter, and how much of what was asked for it holds."""

    state: AdapterState
    kept: dict[str, Kept]
    """Component and module path, as "unet.path" -> share; empty where nothing was left out."""

    @property
    def share(self) -> float:
        return low_rank.total(list(self.kept.values()))

    @property
    def worst(self) -> tuple[str, float]:
        """The module of which least was kept."""
        name = min(self.kept, key=lambda one: self.kept[one].share)
        return name, self.kept[name].share


def weighted_sum(
    adapters: Sequence[tuple[AdapterState, float]],
    rank: int | None = None,
    base: BaseWeight | None = None,
) -> Approximation:
    """One adapter that does what several do together, each by its weight.

    LoRAs are joined exactly, to the sum of their ranks, unless `rank` is given; the other kinds
    need it and `base`. Raises AdapterEditInvalid.
    """
    found: dict[tuple[str, str], list[tuple[Weights, float]]] = {}
    for state, weight in adapters:
        for component, path, weights in each(state):
            found.setdefault((component, path), []).append((weights, weight))
    state, kept = AdapterState(), {}
    for (component, path), terms in found.items():
        name = f"{component}.{path}"
        plain = [(w, factor) for w, factor in terms if isinstance(w, LoraWeights)]
        if len(plain) == len(terms) and all(w.kind == "lora" for w, _ in plain):
            lora = _joined(name, plain)
            if rank is not None and rank < lora.rank:
                lora, kept[name] = low_rank.reduced(lora, rank)
        else:
            kind = next(w.kind for w, _ in terms if w.kind != "lora")
            if rank is None:
                raise AdapterEditInvalid(
                    f"An adapter of type {kind} cannot be joined exactly: say with --rank of what "
                    "rank the LoRA is to be that comes nearest."
                )
            if base is None:
                raise AdapterEditInvalid(
                    f"To make a LoRA of an adapter of type {kind} the weights that it changes are "
                    "needed: name the base with --base."
                )
            own = base(component, path)
            changes = [factor * w.change(own).reshape(own.shape) for w, factor in terms]
            change = torch.stack(changes).sum(0)
            lora, kept[name] = low_rank.nearest(change, rank)
        state.setdefault(component, {})[path] = lora
    return Approximation(state, kept)


def resized(state: AdapterState, rank: int, base: BaseWeight | None = None) -> Approximation:
    """The LoRA of a rank that is nearest to an adapter of any kind. Raises AdapterEditInvalid."""
    return weighted_sum([(state, 1.0)], rank, base)


def difference(base: BaseWeights, tuned: BaseWeights, rank: int, preset: Targets) -> Approximation:
    """The LoRA of a rank that is nearest to what makes `base` into `tuned`, on the modules of a
    preset. Raises AdapterEditInvalid where the two are not of one build or do not differ."""
    state, kept = AdapterState(), {}
    for component, shapes in base.shapes.items():
        denoiser = component == base.info.folders["denoiser"]
        endings = base.info.targets[preset] if denoiser else base.info.text_encoder_targets
        wanted = re.compile(pattern(endings))
        for path, shape in shapes.items():
            if not wanted.fullmatch(path):
                continue
            if tuned.shapes.get(component, {}).get(path) != shape:
                raise AdapterEditInvalid(
                    f"{tuned.base} has no {component}.{path} of {shape}, as {base.base} has: only "
                    "bases of one build have a difference."
                )
            change = tuned.weight(component, path) - base.weight(component, path)
            if change.any():
                lora, kept[f"{component}.{path}"] = low_rank.nearest(change, rank)
                state.setdefault(component, {})[path] = lora
    if not state:
        raise AdapterEditInvalid(
            f"{tuned.base} and {base.base} do not differ on the modules of {preset!r}."
        )
    return Approximation(state, kept)


def _joined(name: str, terms: list[tuple[LoraWeights, float]]) -> LoraWeights:
    sizes = {weights.size for weights, _ in terms}
    if len(sizes) > 1:
        told = " and ".join(map(str, sorted(sizes)))
        raise AdapterEditInvalid(f"The adapters are for different bases: {name} is {told} in them.")
    downs = [weights.down.float() for weights, _ in terms]
    ups = [w.up.float() * (factor * w.alpha / w.rank) for w, factor in terms]
    down = torch.cat(downs)
    return LoraWeights(down, torch.cat(ups, dim=1), float(len(down)))
