"""Rendered training pictures, kept on disk so that every stage reads the same ones."""

from __future__ import annotations

import multiprocessing
import os
import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from loraloom.starter.world.render import render
from loraloom.starter.world.scene import Scene, sample_scene

SIZE_PX = 128
SPLITS = {"base": 48_000, "wide": 64_000, "test": 2_000}
"""Pictures a split. `base` never shows a held-out feature and is all that the denoiser and the
text encoder meet; `wide` also shows held-out ones (for the judge and the image codec only)."""


def scene_of(split: str, index: int) -> Scene:
    """Scene `index` of a split: a function of its name and number alone."""
    return sample_scene(random.Random(f"{split}-{index}"), held_out=split == "wide")


def _render_range(job: tuple[str, str, int, int]) -> None:
    path, split, start, stop = job
    pictures = np.load(path, mmap_mode="r+")
    for index in range(start, stop):
        pictures[index] = render(scene_of(split, index), SIZE_PX)


def pictures(folder: Path, split: str) -> NDArray[np.uint8]:
    """All pictures of a split, uint8 (N, 128, 128, 3), rendered on first use."""
    path = folder / f"{split}.npy"
    if not path.exists():
        part = path.with_suffix(".part.npy")
        count = SPLITS[split]
        np.lib.format.open_memmap(part, "w+", np.uint8, (count, SIZE_PX, SIZE_PX, 3)).flush()
        jobs = [(str(part), split, i, min(i + 500, count)) for i in range(0, count, 500)]
        with multiprocessing.Pool(os.cpu_count()) as pool:
            pool.map(_render_range, jobs)
        part.rename(path)
    loaded: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return loaded


def to_pixels(batch: NDArray[np.uint8]) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(batch)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
