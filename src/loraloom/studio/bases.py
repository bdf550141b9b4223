"""The bases that pictures can be drawn from, as the playground must know them; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraloom import families
from loraloom.config import SamplesConfig, Tree
from loraloom.config_tree import merge
from loraloom.errors import BaseUnknown, ConfigInvalid
from loraloom.settings import base_folders, resolve_base
from loraloom.studio.rights import Person


@dataclass(frozen=True)
class Base:
    """One that is installed."""

    name: str
    title: str
    family: str
    """Its id."""
    licence: str
    native_px: int
    multiple_px: int
    negative_prompt: bool
    guidance: float
    steps: int
    """What is used where nothing else is asked for."""


def installed() -> list[Base]:
    """Those known by name whose family is known."""
    found = []
    for name in base_folders():
        try:
            found.append(describe(name))
        except BaseUnknown:
            continue
    return found


def describe(name: str) -> Base:
    """One by name or folder. Raises BaseUnknown."""
    family, folder = families.detect(name), resolve_base(name)
    profile, info = family.profile(folder), family.info
    samples: Tree = {}
    for tables in (info.defaults, profile.defaults):
        samples = merge(samples, _samples(tables), _samples(tables.get("common", {})))
    own = SamplesConfig.model_validate(samples)
    return Base(
        str(name), profile.title, info.id, profile.licence, profile.native_px,
        profile.size_multiple_px, info.negative_prompt, own.guidance, own.steps,
    )  # fmt: skip


def _samples(tables: Any) -> Tree:
    found: Tree = tables.get("samples", {})
    return found


def for_adapter(base: str, family: str) -> Base | None:
    """The base that an adapter was made for, else one of its family; None: none is installed."""
    if base and (base in base_folders() or Path(base).is_dir()):
        try:
            return describe(base)
        except BaseUnknown:
            pass
    return next((one for one in installed() if one.family == family), None)


def refuse_folder(person: Person, name: str) -> None:
    """Raise ConfigInvalid where a folder is named by somebody who does not own the studio."""
    if person.is_owner or not name or name in base_folders():
        return
    if name not in {info.id for info in families.all_infos()}:
        raise ConfigInvalid(
            f"{name[:200]!r} is not possible here: name an installed base. Only an owner of this "
            "studio may name folders."
        )
