"""What a run keeps in its folder, by the names that training gives it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path


def kept_adapters(run_folder: Path) -> dict[tuple[int, bool], Path]:
    """(step, whether the average) -> the adapter that was written after it, in their order."""
    found = _numbered(run_folder / "adapters", r"step-(\d+)(-ema)?\.safetensors")
    return dict(sorted(((step, bool(average)), path) for step, average, path in found))


def samples(run_folder: Path, until: int | None = None) -> list[Path]:
    """Pictures drawn with the adapter, the newest step first; with `until` those up to this step,
    or else of the next one."""
    drawn = [
        (step, int(number), path)
        for step, number, path in _numbered(run_folder / "samples", r"step-(\d+)-(\d+)\.png")
        if step  # the first are drawn without it
    ]
    if until is not None and drawn:
        last = max(until, min(step for step, _, _ in drawn))
        drawn = [one for one in drawn if one[0] <= last]
    return [path for _, _, path in sorted(drawn, key=lambda one: (-one[0], one[1]))]


def _numbered(folder: Path, name: str) -> Iterator[tuple[int, str, Path]]:
    """The step in a file's name, what is told beside it, and the file."""
    for path in folder.glob("step-*"):
        if match := re.fullmatch(name, path.name):
            yield int(match[1]), match[2] or "", path
