"""Where this installation keeps things."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from loraloom.errors import BaseUnknown, ConfigInvalid
from loraloom.files import expanded, kind_at
from loraloom.hub import is_hub_id

STARTER = "starter"


@dataclass(frozen=True)
class IntakeLimits:
    """How much one import may bring."""

    files: int = 20_000
    total_bytes: int = 32 * 2**30
    file_bytes: int = 256 * 2**20
    ratio: int = 200
    """Unpacked bytes for a packed one, once more than `ratio_from_bytes` are unpacked."""
    ratio_from_bytes: int = 10 * 2**20


def data_folder() -> Path:
    """LORALOOM_HOME, or ~/.loraloom; it need not exist."""
    named = os.environ.get("LORALOOM_HOME")
    return Path.home() / ".loraloom" if named is None else Path(named)


def database_url() -> str:
    """LORALOOM_DATABASE, or an SQLite file in data_folder()."""
    file = data_folder().expanduser().resolve() / "studio.db"
    return os.environ.get("LORALOOM_DATABASE") or f"sqlite:///{file}"


def intake_limits() -> IntakeLimits:
    """The limits of this installation: LORALOOM_MAX_FILES and LORALOOM_MAX_IMPORT_GIB change two.

    Raises ConfigInvalid when one of them is not a whole number above zero.
    """
    return IntakeLimits(
        files=_positive("LORALOOM_MAX_FILES", IntakeLimits.files),
        total_bytes=_positive("LORALOOM_MAX_IMPORT_GIB", IntakeLimits.total_bytes >> 30) << 30,
    )


def bases_folder() -> Path:
    """Where bases lie, or links to them; what begins with a dot there is on its way."""
    return data_folder() / "bases"


def base_folders() -> dict[str, Path]:
    """Name -> diffusers folder: the embedded base, and those in bases_folder()."""
    found = {STARTER: Path(str(files("loraloom") / "starter" / "base"))}
    inside = sorted(bases_folder().iterdir()) if kind_at(bases_folder()) == "folder" else []
    for folder in inside:
        if not folder.name.startswith(".") and kind_at(folder / "model_index.json") == "file":
            found[folder.name] = folder
    return found


def linked_folder(name: str) -> Path | None:
    """The folder elsewhere that a base is a link to."""
    try:
        return (bases_folder() / name).readlink()
    except (OSError, ValueError):  # no link, or no name that a file can have
        return None


def resolve_base(name: str | Path) -> Path:
    """The diffusers folder of a base given by name or path. Raises BaseUnknown."""
    known = base_folders()
    folder = known.get(str(name), expanded(name))
    if kind_at(folder / "model_index.json") == "file":
        return folder
    if kind_at(folder) == "folder":
        raise BaseUnknown(f"{folder} is not a diffusers folder: it has no model_index.json.")
    if kind_at(folder) == "file":
        raise BaseUnknown(
            f"{folder} is a file, and a base is a folder. Take a single checkpoint in once, with "
            f"`loraloom bases add {folder}`; then it is known by its name."
        )
    hint = _hint(str(name), known)
    raise BaseUnknown(f"There is no base {str(name)!r}, by name or as a folder. {hint}")


def _hint(name: str, known: Mapping[str, Path]) -> str:
    """What was meant, or how it is got."""
    if target := linked_folder(name):
        return f"It is a link to {target}, which is not there: is its disk attached?"
    tail = name.rpartition("/")[2]
    near = [tail] if tail in known else difflib.get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    if is_hub_id(name):
        return f"If it is a model of the hub, fetch it with `loraloom bases add {name}`."
    return f"Known names: {', '.join(known)}."


def _positive(variable: str, default: int) -> int:
    given = os.environ.get(variable, str(default))
    if not given.isascii() or not given.isdecimal() or int(given) < 1:
        raise ConfigInvalid(f"{variable} = {given!r} is not possible: a whole number from 1 is.")
    return int(given)
