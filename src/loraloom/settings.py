"""Where this installation keeps things."""

from __future__ import annotations

import difflib
import os
from importlib.resources import files
from pathlib import Path

from loraloom.errors import BaseUnknown

STARTER = "starter"


def data_folder() -> Path:
    """LORALOOM_HOME, or ~/.loraloom; it need not exist."""
    return Path(os.environ.get("LORALOOM_HOME", Path.home() / ".loraloom"))


def base_folders() -> dict[str, Path]:
    """Name -> diffusers folder: the embedded base, and those in data_folder()/bases."""
    found = {STARTER: Path(str(files("loraloom") / "starter" / "base"))}
    for index in sorted((data_folder() / "bases").glob("*/model_index.json")):
        found[index.parent.name] = index.parent
    return found


def resolve_base(name: str | Path) -> Path:
    """The diffusers folder of a base given by name or path. Raises BaseUnknown."""
    known = base_folders()
    folder = known.get(str(name), Path(name).expanduser())
    if (folder / "model_index.json").is_file():
        return folder
    if folder.is_dir():
        raise BaseUnknown(f"{folder} is not a diffusers folder: it has no model_index.json.")
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" Known names: {', '.join(known)}."
    raise BaseUnknown(f"There is no base {str(name)!r}, by name or as a folder.{hint}")
