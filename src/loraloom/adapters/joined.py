"""Modules as ComfyUI names them, where it does not as diffusers does, or has one for several.

Several modules of one input stand joined: `down` one below the other, `up` in blocks along the
diagonal. The family's table says which; see FamilyInfo.comfyui.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import torch

from loraloom import families
from loraloom.adapters.state import LoraWeights
from loraloom.families.info import Joined

Table = Mapping[str, tuple[Joined, ...]]


def joined(modules: Mapping[str, LoraWeights], table: Table) -> dict[str, LoraWeights]:
    """The same adapter under ComfyUI's names; what the table does not name stays as it is."""
    theirs = dict(modules)
    for name, own in _instances(modules, table):
        parts = [theirs.pop(part.path, None) for part in own]
        present = [part for part in parts if part is not None]
        theirs[name] = present[0] if len(own) == 1 else _join(parts, own)
    return theirs


def parts_of(name: str) -> tuple[Joined, ...]:
    """What diffusers has in the place of the module that ComfyUI names so; () for the same."""
    for pattern, own in _all():
        found = re.fullmatch(pattern, name)
        if found:
            return _at(own, found.groups())
    return ()


def split(lora: LoraWeights, own: Sequence[Joined]) -> dict[str, LoraWeights]:
    """The adapter of a joined module as those of its parts, without what does not reach them."""
    if len(own) == 1:
        return {own[0].path: lora}
    sizes = _sizes(lora, own)
    found: dict[str, LoraWeights] = {}
    for part, up in zip(own, lora.up.split(sizes), strict=True):
        reached = up.any(dim=0)
        if reached.any():
            kept = int(reached.sum())
            alpha = lora.alpha / lora.rank * kept
            found[part.path] = LoraWeights(lora.down[reached], up[:, reached], alpha)
    return found


def fits(lora: LoraWeights, own: Sequence[Joined]) -> bool:
    """Whether a joined module has as many outputs as its parts."""
    return len(own) == 1 or sum(_sizes(lora, own)) == len(lora.up)


def known_by(paths: Mapping[str, object], table: Table) -> bool:
    """Whether each of diffusers' module paths is one of the table's."""
    patterns = "|".join(_pattern(part.path) for own in table.values() for part in own)
    return bool(paths and table) and all(re.fullmatch(patterns, path) for path in paths)


def _join(parts: Sequence[LoraWeights | None], own: Sequence[Joined]) -> LoraWeights:
    """Alpha is the rank; a part that has no adapter gets zeros."""
    present = [part for part in parts if part is not None]
    down = torch.cat([part.down.float() for part in present])
    sizes = _sizes(present[0], own)
    ups = [
        torch.zeros(size, 0) if part is None else part.up.float() * (part.alpha / part.rank)
        for part, size in zip(parts, sizes, strict=True)
    ]
    return LoraWeights(down, torch.block_diag(*ups), float(len(down)))


def _sizes(lora: LoraWeights, own: Sequence[Joined]) -> list[int]:
    return [part.ratio * lora.down.shape[1] for part in own]


def _instances(
    modules: Mapping[str, LoraWeights], table: Table
) -> Iterator[tuple[str, tuple[Joined, ...]]]:
    """Each of ComfyUI's modules of which the adapter has a part."""
    for name, own in table.items():
        matches = (re.fullmatch(_pattern(p.path), path) for p in own for path in modules)
        places = dict.fromkeys(found.groups() for found in matches if found)
        for numbers in places:
            yield _fill(name, numbers), _at(own, numbers)


@cache
def _all() -> list[tuple[str, tuple[Joined, ...]]]:
    tables = [info.comfyui for info in families.all_infos()]
    return [(_pattern(name), own) for table in tables for name, own in table.items()]


def _at(own: Sequence[Joined], numbers: Sequence[str]) -> tuple[Joined, ...]:
    return tuple(Joined(_fill(part.path, numbers), part.ratio) for part in own)


def _pattern(name: str) -> str:
    return re.escape(name).replace(r"\*", r"(\d+)")


def _fill(name: str, numbers: Sequence[str]) -> str:
    for number in numbers:
        name = name.replace("*", number, 1)
    return name
