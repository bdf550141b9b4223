"""The picture size of a base, installed or only known by its family."""

from __future__ import annotations

import difflib

from loraloom import families, settings
from loraloom.dataset.readiness.judging import Native
from loraloom.errors import BaseUnknown


def native_of(base: str) -> Native:
    """By the name or folder of an installed base, or by a family's id. Raises BaseUnknown."""
    infos = {info.id: info for info in families.all_infos()}
    installed = settings.base_folders()
    if base not in installed and base in infos:
        info = infos[base]
        return Native(
            info.title, info.native_px, info.size_multiple_px, info.max_aspect, info.prompt_style,
            info.frames,
        )  # fmt: skip
    try:
        folder = settings.resolve_base(base)
    except BaseUnknown as error:
        known = sorted({*installed, *infos})
        near = difflib.get_close_matches(base, known, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise BaseUnknown(
            f"There is no base {base!r}. {hint}Known by name: {', '.join(known)}; or name the "
            "folder of a base."
        ) from error
    family = families.detect(folder)
    profile = family.profile(folder)
    return Native(
        profile.title,
        profile.native_px,
        profile.size_multiple_px,
        profile.max_aspect,
        profile.prompt_style or family.info.prompt_style,
        profile.frames,
    )
