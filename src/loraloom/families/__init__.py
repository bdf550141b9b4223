"""The families: one module each, found by looking, so that adding one edits nothing here."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path

from loraloom.errors import BaseUnknown
from loraloom.families.base import Family
from loraloom.families.info import FamilyInfo
from loraloom.families.parts import read_model_index
from loraloom.families.profile import telling_nonsense
from loraloom.settings import resolve_base


@cache
def _all() -> dict[str, Family]:
    """Each module here that has a FAMILY; the others are what families share."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    families: list[Family] = [m.FAMILY for m in modules if hasattr(m, "FAMILY")]
    return {family.info.id: family for family in families}


def get(family_id: str) -> Family:
    """The family with this id. Raises BaseUnknown."""
    try:
        return _all()[family_id]
    except KeyError:
        known = ", ".join(_all())
        raise BaseUnknown(f"There is no family {family_id!r}. Known: {known}.") from None


def all_infos() -> list[FamilyInfo]:
    """What is known of each family; imports no torch."""
    return [family.info for family in _all().values()]


def detect(source: str | Path) -> Family:
    """The family of a base given by name or folder. Raises BaseUnknown."""
    base = resolve_base(source)
    index = read_model_index(base)
    refusals = []
    with telling_nonsense(base):
        for family in _all().values():
            if family.matches(base, index):
                refusal = family.refusal(base)
                if refusal is None:
                    return family
                refusals.append(refusal)
    if refusals:
        raise BaseUnknown(refusals[0])
    titles = ", ".join(info.title for info in all_infos())
    kind = index.get("_class_name", "an unknown kind of model")
    raise BaseUnknown(f"{base} holds {kind}, which no family covers yet. Covered: {titles}.")
