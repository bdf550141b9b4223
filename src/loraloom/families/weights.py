"""How large the parts of a base are, without loading them."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.families.parts import Part, import_class, part_folder, read_model_index

if TYPE_CHECKING:
    import torch
    from torch import nn


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The tensors in a part's safetensors files, from their headers; {} where it has none.

    Of several precisions of the same weights ("model.fp16.safetensors") one is told.
    """
    variants: dict[str, dict[str, tuple[int, ...]]] = {}
    for path in folder.glob("*.safetensors"):
        variant = path.name.split(".")[1].partition("-")[0]
        variants.setdefault(variant, {}).update(_shapes(path))
    return max(variants.values(), key=lambda found: sum(map(math.prod, found.values())), default={})


def empty(part: Part, base: Path, dtype: torch.dtype) -> Any:
    """A part as shapes only, of the class and config that its base states, on the meta device."""
    import torch

    name = part.accepts(read_model_index(base))
    assert name is not None, "the family has recognised the base"
    cls, folder = import_class(name), part_folder(base, part)
    own = issubclass(cls, import_class("diffusers.ModelMixin"))
    config = cls.load_config(folder) if own else cls.config_class.from_pretrained(folder)
    with torch.device("meta"):
        module: nn.Module = cls.from_config(config) if own else cls(config)
    for weight in module.parameters():
        weight.data = weight.data.to(dtype)
    return module.requires_grad_(False).eval()


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape; empty where the header cannot be read."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
    except (OSError, ValueError, struct.error):
        return {}
    return {n: tuple(entry["shape"]) for n, entry in header.items() if n != "__metadata__"}
