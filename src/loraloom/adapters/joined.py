"""Modules by the names of a base's authors, who keep several of diffusers' modules in one.

ComfyUI goes by these names, and kohya for FLUX.1: `double_blocks.0.img_attn.qkv` is three modules
of diffusers'. Several of one input stand joined: `down` one below the other, `up` in blocks along
the diagonal, or one `down` for all. Which these are is each family's data (FamilyInfo.original).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import torch

from loraloom import families
from loraloom.adapters.weights import LoraWeights, Weights
from loraloom.errors import AdapterKeysUnknown, AdapterUnreadable
from loraloom.families.info import Joined

Table = Mapping[str, tuple[Joined, ...]]


def joins(table: Table) -> bool:
    """Whether any of its modules is several of diffusers'."""
    return any(len(own) > 1 for own in table.values())


def joined(modules: Mapping[str, Weights], table: Table) -> dict[str, Weights]:
    """The same adapter under the authors' names; what the table does not name stays as it is.

    Raises AdapterKeysUnknown where modules that are not LoRA's would have to be joined.
    """
    theirs = dict(modules)
    for name, own in _instances(modules, table):
        parts = [theirs.pop(part.path, None) for part in own]
        present = [part for part in parts if part is not None]
        if present:  # and not taken under another of the authors' names
            theirs[name] = present[0] if len(own) == 1 else _join(name, parts, own)
    return theirs


def original(path: str) -> str | None:
    """The module in the authors' words, "." or "_" between its names; None where it is none."""
    flat = path.replace(".", "_")
    for known, _ in _known():
        found = re.fullmatch(_pattern(known.replace(".", "_")), flat)
        if found:
            return _fill(known, found.groups())
    return None


def choices(name: str) -> list[tuple[Joined, ...]]:
    """What diffusers has in the place of the authors' module: one choice for each of the families
    that mean different modules by the name, none where it is diffusers' own."""
    found = ((own, re.fullmatch(_pattern(known), name)) for known, own in _known())
    return list(dict.fromkeys(_at(own, match.groups()) for own, match in found if match))


def split(path: str, weights: Weights) -> dict[str, Weights]:
    """The weights of each of diffusers' modules in the module at `path`, without what does not
    reach them. Raises AdapterUnreadable on widths that do not fit, and kinds other than LoRA."""
    possible = choices(path)
    fitting = [own for own in possible if _fits(weights, own)] if len(possible) > 1 else []
    own = next(iter([*fitting, *possible]), ())
    if len(own) < 2:
        return {own[0].path if own else path: weights}
    if not isinstance(weights, LoraWeights) or weights.kind != "lora":
        raise AdapterUnreadable(
            f"module {path!r} is {len(own)} modules in one, which is taken apart of LoRA only, "
            f"and not of type {weights.kind}."
        )
    sizes = _sizes(weights, own)
    if sum(sizes) != len(weights.up):
        raise AdapterUnreadable(
            f"module {path!r}: {len(weights.up)} outputs for {weights.down.shape[1]} inputs are "
            f"not those of the {len(own)} modules that stand joined there."
        )
    found: dict[str, Weights] = {}
    for part, up in zip(own, weights.up.split(sizes), strict=True):
        reached = up.any(dim=0)
        if reached.any():
            alpha = weights.alpha / weights.rank * int(reached.sum())
            found[part.path] = LoraWeights(weights.down[reached], up[:, reached], alpha)
    return found


def known_by(paths: Mapping[str, object], table: Table) -> bool:
    """Whether each of diffusers' module paths is one of the table's."""
    patterns = "|".join(_pattern(part.path) for own in table.values() for part in own)
    return bool(paths and table) and all(re.fullmatch(patterns, path) for path in paths)


def _join(name: str, parts: Sequence[Weights | None], own: Sequence[Joined]) -> LoraWeights:
    """Alpha is the rank; a part that has no adapter gets zeros."""
    present = [part for part in parts if isinstance(part, LoraWeights) and part.kind == "lora"]
    if len(present) < sum(part is not None for part in parts):
        raise AdapterKeysUnknown(f"{name} is {len(own)} modules in one, which only LoRA can join.")
    down = torch.cat([part.down.float() for part in present])
    sizes = _sizes(present[0], own)
    ups = [
        part.up.float() * (part.alpha / part.rank)
        if isinstance(part, LoraWeights)
        else torch.zeros(size, 0)
        for part, size in zip(parts, sizes, strict=True)
    ]
    return LoraWeights(down, torch.block_diag(*ups), float(len(down)))


def _fits(weights: Weights, own: Sequence[Joined]) -> bool:
    high, wide = weights.size[:2]
    return high == sum(round(part.ratio * wide) for part in own)


def _sizes(lora: LoraWeights, own: Sequence[Joined]) -> list[int]:
    return [round(part.ratio * lora.down.shape[1]) for part in own]


def _instances(
    modules: Mapping[str, Weights], table: Table
) -> Iterator[tuple[str, tuple[Joined, ...]]]:
    """Each of the authors' modules of which the adapter has a part."""
    for name, own in table.items():
        matches = (re.fullmatch(_pattern(p.path), path) for p in own for path in modules)
        places = dict.fromkeys(found.groups() for found in matches if found)
        for numbers in places:
            yield _fill(name, numbers), _at(own, numbers)


@cache
def _known() -> list[tuple[str, tuple[Joined, ...]]]:
    return [pair for info in families.all_infos() for pair in info.original.items()]


def _at(own: Sequence[Joined], numbers: Sequence[str]) -> tuple[Joined, ...]:
    return tuple(Joined(_fill(part.path, numbers), part.ratio) for part in own)


@cache
def _pattern(name: str) -> str:
    return re.escape(name).replace(r"\*", r"(\d+)")


def _fill(name: str, numbers: Sequence[str]) -> str:
    for number in numbers:
        name = name.replace("*", number, 1)
    return name
