"""The bases that are known by name; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loraloom import families, settings
from loraloom.config import SamplesConfig
from loraloom.config_tree import merge
from loraloom.errors import BaseUnknown
from loraloom.families.info import BaseProfile, FamilyInfo, PromptStyle
from loraloom.families.profile import telling_nonsense
from loraloom.kinds import read_data


@dataclass(frozen=True)
class Base:
    """One base model that can be named after --base."""

    name: str
    title: str
    family: str
    """Its title."""
    family_id: str
    licence: str
    native_px: int
    multiple_px: int
    """Sides that it can draw are multiples of it."""
    folder: Path
    prompts: PromptStyle
    """What its captions and prompts are written like."""
    negative_prompt: bool
    """Whether it knows one."""
    guidance: float
    steps: int
    """What is used where nothing else is asked for."""
    moves: bool
    """Whether it learns from clips."""
    card: str
    """The smallest card that is said to train it; empty where nothing is said."""
    card_gib: int
    weights_mib: int
    """What its files take on the disk."""
    source: str
    """The hub's id for it, where it was fetched from there."""


def installed() -> list[Base]:
    """Every base known by name whose folder is there."""
    found = []
    for name in settings.base_folders():
        try:
            found.append(describe(name))
        except BaseUnknown:
            continue  # known by name, but not there or of no family: asking for it tells why
    return found


def describe(name: str) -> Base:
    """One by its name or folder. Raises BaseUnknown."""
    with telling_nonsense(name):
        return _described(name)


def _described(name: str) -> Base:
    family, folder = families.detect(name), settings.resolve_base(name)
    profile, info = family.profile(folder), family.info
    own = sampling(info, profile)
    whole = profile.native_px >= info.native_px  # what is said of cards is said of such a size
    card, card_gib = _smallest_card(info) if whole else ("", 0)
    return Base(
        name=str(name),
        title=profile.title,
        family=profile.family,
        family_id=info.id,
        licence=profile.licence,
        native_px=profile.native_px,
        multiple_px=profile.size_multiple_px,
        folder=folder,
        prompts=profile.prompt_style or info.prompt_style,
        negative_prompt=info.negative_prompt,
        guidance=own.guidance,
        steps=own.steps,
        moves=info.frames is not None,
        card=card,
        card_gib=card_gib,
        weights_mib=_weights_mib(folder),
        source=profile.source,
    )


def sampling(info: FamilyInfo, profile: BaseProfile) -> SamplesConfig:
    """How pictures are drawn from a base unless one says otherwise."""
    family = [info.defaults, info.defaults.get("common", {})]
    base = [profile.defaults, profile.defaults.get("common", {})]
    tables = [tree.get("samples", {}) for tree in (*family, *base)]
    return SamplesConfig.model_validate(merge(*tables))


def _smallest_card(info: FamilyInfo) -> tuple[str, int]:
    known = {name: int(gib) for name, gib in read_data("cards").items()}
    able = [name for name, said in info.cards.items() if said.get("rank") and name in known]
    return min(((name, known[name]) for name in able), key=lambda pair: pair[1], default=("", 0))


def _weights_mib(folder: Path) -> int:
    found = [path for path in folder.glob("*/*.safetensors") if path.is_file()]
    return sum(path.stat().st_size for path in found) >> 20
