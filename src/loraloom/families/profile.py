"""What one base says of itself: its family's values, changed by its variant and loraloom.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from loraloom.config_tree import merge
from loraloom.errors import BaseUnknown
from loraloom.families.info import BaseProfile, FamilyInfo
from loraloom.families.parts import read_config, read_model_index


@contextmanager
def telling_nonsense(base: str | Path) -> Iterator[None]:
    """Turn what the files of a base break into BaseUnknown: they are anybody's."""
    try:
        yield
    except (OSError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise BaseUnknown(
            f"The base {base} cannot be used, as its files hold what is not possible ({error}). "
            "Choose another copy of this model."
        ) from error


def read_profile(info: FamilyInfo, base: Path, variant: str) -> BaseProfile:
    """The profile of a base of the family. Raises BaseUnknown where its loraloom.toml is wrong."""
    own = _read_toml(base / "loraloom.toml")
    name = str(own.get("variant", variant))
    if name and name not in info.variants:
        known = ", ".join(info.variants) or "none"
        raise BaseUnknown(f"{base / 'loraloom.toml'}: no variant {name!r}. There are: {known}.")
    facts = info.variants.get(name, {})
    said = {**facts, **own}
    return BaseProfile(
        title=str(own.get("title", base.name)),
        native_px=int(said.get("native_px", _native_px(info, base))),
        size_multiple_px=int(said.get("size_multiple_px", info.size_multiple_px)),
        max_aspect=float(said.get("max_aspect", info.max_aspect)),
        defaults=merge(facts.get("defaults", {}), own.get("defaults", {})),
        class_words=said.get("class_words", {}),
        family=str(facts.get("title", info.title)),
        prompt_style=said.get("prompt_style", info.prompt_style),
        licence=str(said.get("licence", info.licence)),
        architecture=str(facts.get("architecture", info.architecture)),
        frames=info.frames and replace(info.frames, **facts.get("frames", {})),
        source=str(own.get("source", "")),
    )


def variant_by_name(info: FamilyInfo, base: Path) -> str:
    """The variant that a base's name tells; "" where it tells none."""
    own = read_model_index(base).get("_name_or_path", "")
    name = f"{base.name} {base.resolve().name} {own}".casefold()  # of a link both names
    for variant, facts in info.variants.items():
        if any(word in name for word in facts.get("names", ())):
            return variant
    return ""


def _native_px(info: FamilyInfo, base: Path) -> int:
    """The side of the square that this base was trained at, in pixels, as far as it says."""
    denoiser = read_config(base, info.folders["denoiser"])
    vae = read_config(base, info.folders["vae"])
    try:
        return int(denoiser["sample_size"]) << (len(vae["block_out_channels"]) - 1)
    except (ValueError, KeyError, TypeError):
        return info.native_px


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BaseUnknown(f"{path} is not valid TOML: {error}.") from error
