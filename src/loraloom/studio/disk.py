"""What takes room in the data folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """One thing in the data folder."""

    name: str
    bytes: int
    files: int


@dataclass(frozen=True)
class Disk:
    """The data folder and its disk."""

    parts: list[Part]
    """The largest first."""
    total_bytes: int
    free_bytes: int

    @property
    def used_bytes(self) -> int:
        """By the data folder."""
        return sum(part.bytes for part in self.parts)


def measure(data: Path) -> Disk:
    """Look at everything in the data folder; links are not followed."""
    data.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Part] = {}
    for entry in os.scandir(data):
        name = "studio.db" if entry.name.startswith("studio.db") else entry.name
        size, files = _size(entry)
        old = parts.get(name, Part(name, 0, 0))
        parts[name] = Part(name, old.bytes + size, old.files + files)
    disk = shutil.disk_usage(data)
    found = sorted(parts.values(), key=lambda part: -part.bytes)
    return Disk(found, disk.total, disk.free)


def bytes_in(folder: Path) -> int:
    """In all files of a folder; 0 where there is none."""
    try:
        with os.scandir(folder) as inside:
            return sum(_size(one)[0] for one in inside)
    except OSError:
        return 0


def _size(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Bytes and files; what vanishes meanwhile or cannot be read counts nothing."""
    try:
        if entry.is_symlink():
            return 0, 0
        if not entry.is_dir(follow_symlinks=False):
            return entry.stat(follow_symlinks=False).st_size, 1
        with os.scandir(entry.path) as inside:
            sizes = [_size(one) for one in inside]
    except OSError:
        return 0, 0
    return sum(size for size, _ in sizes), sum(files for _, files in sizes)
