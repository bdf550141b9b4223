"""The bases that are known by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loraloom import families, settings
from loraloom.errors import BaseUnknown
from loraloom.families.info import FamilyInfo, PromptStyle
from loraloom.kinds import read_data


@dataclass(frozen=True)
class Base:
    """One base model that can be named after --base."""

    name: str
    title: str
    family: str
    licence: str
    native_px: int
    folder: Path
    prompts: PromptStyle = "tags"
    """What its captions and prompts are written like."""
    moves: bool = False
    """Whether it learns from clips."""
    card: str = ""
    """The smallest card that is said to train it; empty where nothing is said."""
    card_gib: int = 0
    weights_mib: int = 0
    """What its files take on the disk."""


def installed() -> list[Base]:
    """Every base known by name whose folder is there; imports no torch."""
    found = []
    for name, folder in settings.base_folders().items():
        try:
            family = families.detect(folder)
        except BaseUnknown:
            continue  # known by name, but not there or of no family: asking for it tells why
        profile, info = family.profile(folder), family.info
        whole = profile.native_px >= info.native_px  # what is said of cards is said of such a size
        found.append(
            Base(
                name, profile.title, profile.family, profile.licence, profile.native_px, folder,
                profile.prompt_style or info.prompt_style, info.frames is not None,
                *(_smallest_card(info) if whole else ("", 0)), _weights_mib(folder),
            )
        )  # fmt: skip
    return found


def _smallest_card(info: FamilyInfo) -> tuple[str, int]:
    known = {name: int(gib) for name, gib in read_data("cards").items()}
    able = [name for name, said in info.cards.items() if said.get("rank") and name in known]
    return min(((name, known[name]) for name in able), key=lambda pair: pair[1], default=("", 0))


def _weights_mib(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*.safetensors")) >> 20
