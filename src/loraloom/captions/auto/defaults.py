"""The settings of automatic captions, from data/captions/auto.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loraloom.kinds import read_data


@dataclass(frozen=True)
class TaggerDefaults:
    """How taggers are asked; see the file."""

    default: str
    threshold: float
    strict: float
    names_threshold: float
    names_for: tuple[str, ...]
    general: int
    names: int
    left_out: tuple[str, ...]
    batch: int


@dataclass(frozen=True)
class FlorenceDefaults:
    """The task of each prompt, and how an answer is searched."""

    concise: str
    standard: str
    detailed: str
    tokens: int
    beams: int
    batch: int


@dataclass(frozen=True)
class ProviderDefaults:
    """How a vision model behind an address is asked."""

    timeout_s: float
    tries: int
    pause_s: float
    longest_pause_s: float
    failures_in_a_row: int
    longest_side_px: int
    jpeg_quality: int
    temperature: float


@dataclass(frozen=True)
class HairDefaults:
    """When hair counts as changing."""

    least_share: float
    most_together: float


@dataclass(frozen=True)
class OwnDefaults:
    """When a tag tells what the whole set shows."""

    kinds: tuple[str, ...]
    share: float
    least_pictures: int


def models() -> Mapping[str, str]:
    """Short name -> repository of the hub."""
    found: dict[str, str] = read_data("captions/auto")["models"]
    return found


def tagger() -> TaggerDefaults:
    """What taggers take."""
    return TaggerDefaults(**_frozen("tagger"))


def florence() -> FlorenceDefaults:
    """What Florence-2 takes."""
    return FlorenceDefaults(**_frozen("florence"))


def provider() -> ProviderDefaults:
    """What a provider takes."""
    return ProviderDefaults(**_frozen("provider"))


def hair() -> HairDefaults:
    """When hair counts as changing."""
    return HairDefaults(**_frozen("hair"))


def own() -> OwnDefaults:
    """When a tag tells what the whole set shows."""
    return OwnDefaults(**_frozen("own"))


def _frozen(name: str) -> dict[str, Any]:
    table = read_data("captions/auto")[name]
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
