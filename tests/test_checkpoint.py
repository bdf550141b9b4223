from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from loraloom.errors import CheckpointUnusable, DiskFull, OutputUnwritable
from loraloom.train import checkpoint
from loraloom.train.checkpoint import Checkpoint, load_latest, save_checkpoint


def _at(step: int) -> Checkpoint:
    return Checkpoint(step, {"a": torch.full((3,), float(step))}, {"seconds": 1.5})


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_comes_back_and_old_ones_go(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, _at(step), keep=2)
    assert _names(tmp_path) == ["step-000002", "step-000003"]
    found, broken = load_latest(tmp_path)
    assert found is not None and not broken
    assert (found.step, dict(found.state)) == (3, {"seconds": 1.5})
    assert found.tensors["a"].tolist() == [3, 3, 3]


def test_nothing_to_load(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "gone"])
def test_broken_one_is_moved_aside(tmp_path: Path, file: str, harm: str) -> None:
    save_checkpoint(tmp_path, _at(1), keep=2)
    path = save_checkpoint(tmp_path, _at(2), keep=2) / file
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if harm == "cut" else content[:-9] + b"?" + content[-8:])
    found, broken = load_latest(tmp_path)
    assert found is not None and found.step == 1
    assert broken == [tmp_path / ".bad-step-000002"]


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "rename")])
def test_full_disk_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, call: str
) -> None:
    save_checkpoint(tmp_path, _at(1), keep=2)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, call, fail)
    with pytest.raises(DiskFull, match="disk is full"):
        save_checkpoint(tmp_path, _at(2), keep=2)
    assert _names(tmp_path) == ["step-000001"]


def test_a_folder_that_may_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(checkpoint, "sync_folder", fail)
    with pytest.raises(OutputUnwritable, match="step-000001"):
        save_checkpoint(tmp_path, _at(1), keep=1)


def test_nothing_is_moved_where_all_are_broken(tmp_path: Path) -> None:
    for step in (1, 2):
        (save_checkpoint(tmp_path, _at(step), keep=2) / "state.json").unlink()
    for _ in range(2):
        with pytest.raises(CheckpointUnusable, match=r"step-000002, step-000001"):
            load_latest(tmp_path)
    assert _names(tmp_path) == ["step-000001", "step-000002"]
