"""A tint that the whole set shares."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Tint = tuple[float, float]
"""Mean a* (green to red) and b* (blue to yellow) of CIELAB; 0, 0 is neutral."""
BRIGHTEST = 0.1


@dataclass(frozen=True)
class Cast:
    """The tint of a set."""

    strength: float
    """Distance from neutral in CIELAB units; about 10 is plain to see."""
    share: float
    """Share of the pictures that lean this way, by at least half as much."""
    name: str
    """What the tint looks like: "orange"."""


def tint(rgb: NDArray[np.uint8]) -> Tint:
    """How far a picture's light leans from neutral; `rgb`: (H, W, 3), small is enough.

    Two estimates must agree, and the smaller counts: the mean of all pixels (grey world) and the
    mean of the brightest tenth (white patch). A forest before a white sky leans in one only.
    """
    lab = np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    pixels = lab.reshape(-1, 3)
    bright = pixels[pixels[:, 0] >= np.quantile(pixels[:, 0], 1 - BRIGHTEST)]
    world, patch = pixels[:, 1:].mean(axis=0), bright[:, 1:].mean(axis=0)
    if world @ patch <= 0:
        return 0.0, 0.0
    lesser = min(world, patch, key=lambda vector: float(np.hypot(*vector)))
    return float(lesser[0]), float(lesser[1])


def cast(tints: list[Tint]) -> Cast:
    """The tint that the pictures have in common; at least one picture."""
    vectors = np.array(tints, np.float64)
    centre = np.median(vectors, axis=0)
    strength = float(np.hypot(*centre))
    if strength == 0:
        return Cast(0.0, 0.0, "neutral")
    along = vectors @ (centre / strength)
    return Cast(strength, float((along >= strength / 2).mean()), _name(centre))


def _name(centre: NDArray[np.float64]) -> str:
    names = ("red", "orange", "yellow", "green", "green", "cyan", "blue", "magenta")
    angle = float(np.degrees(np.arctan2(centre[1], centre[0]))) % 360
    return names[round(angle / 45) % 8]
