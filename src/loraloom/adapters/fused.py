"""Modules of a base's authors' own code, which keeps several of diffusers' modules in one.

kohya and the authors of a base name them so: `double_blocks.0.img_attn.qkv` is three of diffusers'.
Which these are is each family's data (FamilyInfo.original).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from loraloom import families
from loraloom.adapters.weights import LoraWeights, Weights
from loraloom.errors import AdapterUnreadable


def original(path: str) -> str | None:
    """The module in the authors' words, "." or "_" between its names; None where it is none."""
    flat = path.replace(".", "_")
    for known, _ in _known():
        found = re.fullmatch(known.replace(".", "_").replace("*", r"(\d+)"), flat)
        if found:
            return known.replace("*", found[1])
    return None


def parts(path: str) -> list[tuple[str, int]]:
    """diffusers' modules with their shares of the outputs, one after the other; [] of others."""
    for known, inside in _known():
        found = re.fullmatch(re.escape(known).replace(r"\*", r"(\d+)"), path)
        if found:
            return [(module.replace("*", found[1]), share) for module, share in inside]
    return []


def split(path: str, weights: Weights) -> Iterator[tuple[str, Weights]]:
    """The weights of each of diffusers' modules in the authors' module at `path`."""
    inside = parts(path)
    if not inside:
        yield path, weights
        return
    if not isinstance(weights, LoraWeights) or (len(inside) > 1 and weights.kind != "lora"):
        raise AdapterUnreadable(
            f"module {path!r} is {len(inside)} modules in one, which is taken apart of LoRA only, "
            f"and not of type {weights.kind}."
        )
    shares = [share for _, share in inside]
    if len(weights.up) % sum(shares):
        raise AdapterUnreadable(f"module {path!r}: {len(weights.up)} outputs do not divide so.")
    sizes = [len(weights.up) // sum(shares) * share for share in shares]
    for (module, _), up in zip(inside, weights.up.split(sizes), strict=True):
        yield module, LoraWeights(weights.down, up, weights.alpha, weights.magnitude)


@cache
def _known() -> list[tuple[str, tuple[tuple[str, int], ...]]]:
    return [pair for info in families.all_infos() for pair in info.original.items()]
