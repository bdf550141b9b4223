"""Where in a picture its attributes show, so that a mouth counts as much as a sky.

A squared error over the whole picture hardly notices an expression: it fills four of 256 latent
cells. Because the world is exact, the cells that an attribute decides are known: those that change
when it is drawn with its other values. Weighting cells does not move the optimum (the mean given
the caption is best in each cell by itself); it only decides what is learned first.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loraloom.starter.training.pictures import SPLITS, scene_of
from loraloom.starter.world.render import render
from loraloom.starter.world.scene import ATTRIBUTES, Scene, visible

CELLS = 16
SHARE = 24.0
"""Weight that each attribute spreads over its cells; each cell has 1 of its own."""
MOST, LEAST_AREA = 16.0, 1.5
CHANGED_LEVELS = 48
"""Colour levels; below are the wobble of a brush and the grain of paper."""
OTHER_VALUES = 2
_EVERYWHERE = ("background", "lighting", "style", "framing")
_THINGS = ATTRIBUTES["subject"][2:]
_PIXELS_PER_CELL = 4


def emphasis(scene: Scene) -> NDArray[np.float32]:
    """Weight of each latent cell, float32 (16, 16), mean 1."""
    plain = _small(scene)
    weights = np.ones((CELLS, CELLS), np.float32)
    for name in ATTRIBUTES:
        if name not in _EVERYWHERE and visible(scene, name):
            area = np.zeros_like(weights)
            for value in _others(scene, name):
                changed = np.abs(_small(scene.with_values(**{name: value})) - plain).max(axis=2)
                area += _pooled(changed > CHANGED_LEVELS) / OTHER_VALUES
            weights += SHARE * area / max(float(area.sum()), LEAST_AREA)
    weights = weights.clip(max=MOST)
    weights /= weights.mean()
    return weights


def _others(scene: Scene, name: str) -> list[str]:
    if name == "subject":
        options = ("woman", "man") if scene.is_person else _THINGS
    else:
        options = ATTRIBUTES[name]
    at = options.index(scene[name])
    return [options[(at + 1 + k) % len(options)] for k in range(OTHER_VALUES)]


def _small(scene: Scene) -> NDArray[np.int16]:
    return render(scene, CELLS * _PIXELS_PER_CELL).astype(np.int16)


def _pooled(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    cells = mask.reshape(CELLS, _PIXELS_PER_CELL, CELLS, _PIXELS_PER_CELL)
    pooled: NDArray[np.float32] = cells.mean(axis=(1, 3), dtype=np.float32)
    return pooled


def _range(job: tuple[int, int]) -> NDArray[np.float16]:
    return np.stack([emphasis(scene_of("base", index)) for index in range(*job)]).astype(np.float16)


def emphases(folder: Path) -> NDArray[np.float16]:
    """Of all pictures of the base split, (N, 16, 16); computed on first use."""
    path = folder / "emphases.npy"
    if not path.exists():
        part, count = path.with_suffix(".part.npy"), SPLITS["base"]
        jobs = [(at, min(at + 250, count)) for at in range(0, count, 250)]
        with multiprocessing.Pool(os.cpu_count()) as pool:
            np.save(part, np.concatenate(pool.map(_range, jobs)))
        part.rename(path)
    loaded: NDArray[np.float16] = np.load(path)
    return loaded
