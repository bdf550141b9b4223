"""What a run resumes from: a folder with tensors, a state and a manifest of their checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from loraloom.errors import CheckpointUnusable
from loraloom.files import sync_folder, telling_failures, write_synced

_FILES = ("tensors.safetensors", "state.json")


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps; `state` is JSON."""

    step: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write `folder`/step-000123 whole or not at all; keep the newest `keep`. Raises DiskFull."""
    final = folder / f"step-{checkpoint.step:06d}"
    beside = folder / f".tmp-{final.name}"
    shutil.rmtree(beside, ignore_errors=True)
    tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
    state = {"step": checkpoint.step, **checkpoint.state}
    contents = dict(zip(_FILES, (save(tensors), json.dumps(state).encode()), strict=True))
    manifest = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    with telling_failures(final):
        try:
            beside.mkdir(parents=True)
            for name, data in contents.items():
                write_synced(beside / name, data)
            write_synced(beside / "manifest.json", json.dumps(manifest).encode())
            sync_folder(beside)
            shutil.rmtree(final, ignore_errors=True)
            beside.rename(final)
            sync_folder(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    for old in _folders(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[Path]]:
    """The newest whole checkpoint, and the newer broken ones, which are moved aside to .bad-*.

    Raises CheckpointUnusable, and moves nothing, where all of them are broken.
    """
    broken: list[Path] = []
    for path in _folders(folder):
        try:
            checkpoint = _load(path)
        except (OSError, ValueError, KeyError, SafetensorError):
            broken.append(path)
        else:
            return checkpoint, [_move_aside(path) for path in broken]
    if broken:
        raise CheckpointUnusable(
            f"Every checkpoint in {folder} is broken ({', '.join(path.name for path in broken)}). "
            "Put a copy of one back, or remove that folder to train from the first step again."
        )
    return None, []


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f".bad-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    return path.rename(aside)


def _load(path: Path) -> Checkpoint:
    manifest = json.loads((path / "manifest.json").read_bytes())
    contents = {name: (path / name).read_bytes() for name in _FILES}
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != manifest[name]:
            raise ValueError(f"{path / name} does not have its checksum")
    state = json.loads(contents["state.json"])
    return Checkpoint(state.pop("step"), load(contents["tensors.safetensors"]), state)


def _folders(folder: Path) -> list[Path]:
    """The checkpoints, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)
