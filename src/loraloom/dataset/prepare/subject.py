"""Where the subject of a picture is: its face, and what GrabCut takes for the subject."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loraloom.dataset import images
from loraloom.dataset.objects import Objects
from loraloom.dataset.prepare.plan import Share
from loraloom.dataset.readiness import faces
from loraloom.dataset.snapshot import Box, Picture

GRABCUT_SIDE_PX = 256
"""GrabCut sees the picture with this longer side: at twice that a plain one can take minutes."""
GRAIN = 2.0
"""Noise over what GrabCut sees, in levels: flat colours have no spread for it to go by."""
EDGE_PX = 2
NO_RECT = (0, 0, 0, 0)
GRABCUT_ROUNDS = 5
LEAST_SHARE, MOST_SHARE = 0.01, 0.97
"""Of the box: less or more is no subject."""
SHOULDERS = 1.25
"""Of the face's width, on either side of it."""
HAIR = 0.75
"""Of the face's height, above it."""


_ONE_AT_A_TIME = threading.Lock()
"""OpenCV's cascades are not to be used by several threads at once."""


def find_face(image: Image.Image) -> Box | None:
    """The largest face that both cascades see."""
    luma = np.asarray(image.convert("L"), np.uint8)
    with _ONE_AT_A_TIME:
        found = faces.find(luma)
    return found[0] if found else None


def face_crops(
    objects: Objects,
    pictures: Sequence[Picture],
    margin: float,
    progress: Callable[[str, int, int], None],
) -> tuple[dict[str, Box | None], list[Picture]]:
    """The part around the face of each stored picture by SHA-256, and those without a face.

    Raises DatasetDamaged.
    """
    found: dict[str, Box | None] = {}
    bare = []
    for done, picture in enumerate(pictures):
        progress("faces", done, len(pictures))
        objects.verify(picture.sha256, picture.name)
        image = images.open_rgb(objects.path(picture.sha256))
        if face := find_face(image):
            found[picture.sha256] = around_face(face, margin, image.size)
        else:
            bare.append(picture)
    return found, bare


def around_face(face: Box, margin: float, size_px: tuple[int, int]) -> Box:
    """A square around the face with `margin` of its widths on each side, inside the picture."""
    left, top, width, height = face
    side = min(round(max(width, height) * (1 + 2 * margin)), *size_px)
    x = round(left + width / 2 - side / 2)
    y = round(top + height / 2 - side / 2)
    return _inside(x, size_px[0], side), _inside(y, size_px[1], side), side, side


def body_box(face: Box, size_px: tuple[int, int]) -> Box:
    """The part of the picture where the person with that face is: down to the lower edge."""
    left, top, width, height = face
    x0, x1 = max(0, round(left - SHOULDERS * width)), round(left + (1 + SHOULDERS) * width)
    y0 = max(0, round(top - HAIR * height))
    return x0, y0, min(x1, size_px[0]) - x0, size_px[1] - y0


def box_of(share: Share, size_px: tuple[int, int]) -> Box:
    """Shares of the sides in pixels."""
    x0, y0 = round(share[0] * size_px[0]), round(share[1] * size_px[1])
    x1 = min(size_px[0], round((share[0] + share[2]) * size_px[0]))
    y1 = min(size_px[1], round((share[1] + share[3]) * size_px[1]))
    return x0, y0, max(1, x1 - x0), max(1, y1 - y0)


def cut_out(image: Image.Image, box: Box, face: Box | None = None) -> NDArray[np.uint8] | None:
    """(H, W), 255 where the subject is: GrabCut (Rother et al. 2004), never outside `box`.

    The middle of the `face` is the subject for sure. None where GrabCut finds next to nothing, or
    nearly all of the box.
    """
    scale = min(1.0, GRABCUT_SIDE_PX / max(image.size))
    small = image.resize(
        (max(2, round(image.width * scale)), max(2, round(image.height * scale))),
        Image.Resampling.BOX,
    )
    labels = np.full((small.height, small.width), cv2.GC_BGD, np.uint8)
    _fill(labels, box, scale, cv2.GC_PR_FGD)
    if face:
        left, top, width, height = face
        inner = left + width // 4, top + height // 4, width // 2, height // 2
        _fill(labels, inner, scale, cv2.GC_FGD)
    # GrabCut needs pixels that are not the subject; the lower edge may well be the subject.
    labels[:EDGE_PX] = labels[:, :EDGE_PX] = labels[:, -EDGE_PX:] = cv2.GC_BGD
    asked = int((labels != cv2.GC_BGD).sum())
    if not asked:
        return None
    cv2.setRNGSeed(0)
    noise = np.random.default_rng(0).normal(0, GRAIN, (*labels.shape, 3))
    pixels = np.clip(np.asarray(small)[..., ::-1] + noise, 0, 255).astype(np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(pixels, labels, NO_RECT, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    subject = np.where((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)
    subject = _without_crumbs(subject)
    if not LEAST_SHARE <= float((subject > 0).sum()) / asked <= MOST_SHARE:
        return None
    large = cv2.resize(subject, image.size, interpolation=cv2.INTER_CUBIC)
    return np.where(large >= 128, 255, 0).astype(np.uint8)


def _fill(labels: NDArray[np.uint8], box: Box, scale: float, label: int) -> None:
    x, y, width, height = (round(side * scale) for side in box)
    labels[y : y + height, x : x + width] = label


def _without_crumbs(subject: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Holes and specks of a few pixels closed and taken away."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(subject, cv2.MORPH_CLOSE, kernel)
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel), np.uint8)


def _inside(start: int, whole: int, side: int) -> int:
    return max(0, min(start, whole - side))
