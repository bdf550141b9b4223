"""Where bases lie: their names, links to folders elsewhere, and taking them away."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path

from loraloom import families
from loraloom.errors import BaseKept, BaseNameInvalid, BaseUnknown, OutputExists
from loraloom.families.info import FamilyInfo
from loraloom.families.installed import describe
from loraloom.families.parts import has_weights, part_folder, read_config
from loraloom.files import kind_at, sync_folder, telling_failures
from loraloom.settings import STARTER, bases_folder, linked_folder

_NAME = re.compile(r"\w[\w .+-]*")
_LONGEST = 100
_LONGEST_BYTES = 200
"""What disks take, with room for what stands around a name on its way."""


def free_folder(name: str) -> Path:
    """The folder of a base that is not there yet. Raises BaseNameInvalid, OutputExists."""
    too_long = len(name) > _LONGEST or len(name.encode(errors="replace")) > _LONGEST_BYTES
    if not _NAME.fullmatch(name) or name != name.strip() or too_long:
        raise BaseNameInvalid(
            f"A base cannot be called {name[:200]!r}: up to {_LONGEST} letters, digits, spaces and "
            f". + - _ are accepted, in {_LONGEST_BYTES} bytes (a Chinese character takes three)."
        )
    folder = bases_folder() / name
    if name == STARTER or folder.exists() or folder.is_symlink():
        raise OutputExists(
            f"There is a base {name!r} already: choose another name, or remove that one first."
        )
    with telling_failures(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def link(source: Path, name: str | None = None) -> tuple[Path, FamilyInfo]:
    """Know a diffusers folder elsewhere by a name; its files stay where they are.

    Raises BaseUnknown where it is no base or not complete, BaseNameInvalid, OutputExists.
    """
    whole = source.resolve()
    info = whole_base(whole)
    folder = free_folder(name or whole.name)
    with telling_failures(folder):
        folder.symlink_to(whole, target_is_directory=True)
        sync_folder(folder.parent)
    return folder, info


def whole_base(folder: Path) -> FamilyInfo:
    """The family of a base that has all its parts and can be listed. Raises BaseUnknown."""
    info = families.detect(folder).info
    describe(str(folder))
    for name, part in info.parts.items():
        inside = part_folder(folder, part)
        if has_weights(name) and not _whole(inside):
            raise BaseUnknown(
                f"{inside} has no .safetensors, or not all pieces of them: the base is not "
                "complete. Download it again."
            )
    return info


def _whole(folder: Path) -> bool:
    """Whether there is a file of them, or an index with all its pieces."""
    there = {path.name for path in folder.glob("*.safetensors") if kind_at(path) == "file"}
    if any("-of-" not in name for name in there):
        return True
    indices = [path.name for path in folder.glob("*.index*.json")]
    maps = [read_config(folder.parent, folder.name, name).get("weight_map") for name in indices]
    return any(
        isinstance(found, dict) and found and there.issuperset(map(str, found.values()))
        for found in maps
    )


def remove(name: str) -> Path | None:
    """Take a base away; the folder that it was a link to, which stays. Raises BaseKept,
    BaseUnknown."""
    if name == STARTER:
        raise BaseKept(f"The base {STARTER!r} is a part of Loraloom and cannot be removed.")
    folder = bases_folder() / name
    elsewhere = linked_folder(name)
    if not _NAME.fullmatch(name) or not (elsewhere or kind_at(folder) == "folder"):
        raise BaseUnknown(
            f"There is no base {name[:200]!r} in {bases_folder()}; `loraloom bases` lists them."
        )
    with telling_failures(folder):
        for left in bases_folder().glob(".removed-*"):  # when the machine stopped in the middle
            shutil.rmtree(left, ignore_errors=True)
        if elsewhere:
            folder.unlink()
            return elsewhere
        going = folder.with_name(f".removed-{secrets.token_hex(4)}")
        folder.rename(going)
        shutil.rmtree(going)
    return None


def lost_links() -> dict[str, Path]:
    """Name -> the folder that it is a link to, where that is gone."""
    links = [path for path in bases_folder().glob("*") if path.is_symlink()]
    return {path.name: path.readlink() for path in sorted(links) if not kind_at(path)}
