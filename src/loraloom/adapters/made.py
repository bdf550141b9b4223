"""Adapter files made out of other adapter files: what goes in, and what comes out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from loraloom.adapters import file
from loraloom.adapters.base_weights import BaseWeights
from loraloom.adapters.check import check_keys
from loraloom.adapters.metadata import of_copy
from loraloom.adapters.mixing import Approximation
from loraloom.adapters.naming import family_of
from loraloom.adapters.state import AdapterState, each
from loraloom.errors import AdapterEditInvalid
from loraloom.families.info import Layout

_TRIGGERS = ("loraloom.trigger", "modelspec.trigger_phrase")


@dataclass(frozen=True)
class Source:
    """An adapter file that another is made of."""

    path: Path
    state: AdapterState
    metadata: Mapping[str, str]

    def told(self) -> dict[str, str]:
        """Its name and hash, for what is made of it."""
        return {
            "file": self.path.name,
            "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(),
        }


def open_source(path: Path, base: BaseWeights | None) -> Source:
    """Read a file; with a base, every module must be of it.

    Raises AdapterUnreadable, AdapterKeysUnknown.
    """
    if base is not None:
        check_keys(path, base.shapes)
    state, metadata = file.read(path, base.shapes if base else None)
    return Source(path, state, metadata)


def of_one_family(sources: Sequence[Source]) -> None:
    """Raise AdapterEditInvalid where two sources are known to be for different families."""
    titles = {
        family.title: source.path.name
        for source in sources
        if (family := family_of(source.state, source.metadata))
    }
    if len(titles) > 1:
        told = ", ".join(f"{name} is for {title}" for title, name in titles.items())
        raise AdapterEditInvalid(f"The adapters are for different bases: {told}.")


def joined_metadata(sources: Sequence[Source]) -> dict[str, str]:
    """The first one's, with the triggers of all."""
    metadata = dict(sources[0].metadata)
    for name in _TRIGGERS:
        triggers = dict.fromkeys(s.metadata.get(name, "") for s in sources)
        metadata[name] = ", ".join(filter(None, triggers))
    return metadata


def write_lora(
    out: Path,
    made: Approximation,
    metadata: Mapping[str, str],
    how: Mapping[str, object],
    dtype: torch.dtype,
) -> int:
    """Write a LoRA in the first layout of its family; its largest rank.

    Raises what file.write raises.
    """
    rank = max(weights.rank or 0 for _, _, weights in each(made.state))
    family = family_of(made.state, metadata)
    fallback: Layout = "kohya" if "unet" in made.state else "diffusers"
    layout = family.layouts[0] if family else fallback
    file.write(out, made.state, layout, of_copy(metadata, rank, how), dtype)
    return rank
