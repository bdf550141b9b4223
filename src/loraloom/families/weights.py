"""How large the parts of a base are, without loading them."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.families.parts import Part, import_class, read_model_index

if TYPE_CHECKING:
    import torch
    from torch import nn


def count(folder: Path) -> int:
    """The numbers in a part's safetensors files, from their headers; 0 where it has none.

    Of several precisions of the same weights ("model.fp16.safetensors") one counts.
    """
    totals: Counter[str] = Counter()
    for path in folder.glob("*.safetensors"):
        variant = path.name.split(".")[1].partition("-")[0]
        totals[variant] += sum(_shapes(path))
    return max(totals.values(), default=0)


def empty(part: Part, base: Path, dtype: torch.dtype) -> Any:
    """A part as shapes only, of the class and config that its base states, on the meta device."""
    import torch

    name = part.accepts(read_model_index(base))
    assert name is not None, "the family has recognised the base"
    cls = import_class(name)
    with torch.device("meta"):
        module: nn.Module = cls.from_config(cls.load_config(base / part.folder))
    for weight in module.parameters():
        weight.data = weight.data.to(dtype)
    return module.requires_grad_(False).eval()


def _shapes(path: Path) -> list[int]:
    """The number of elements of each tensor; empty where the header cannot be read."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
    except (OSError, ValueError, struct.error):
        return []
    return [math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__"]
