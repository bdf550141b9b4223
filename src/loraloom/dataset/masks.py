"""Masks: which files of a source are masks of which pictures, and what a mask says.

A mask is a grey picture of its picture's size: 255 is learnt, 0 is not, between is weighed. It lies
in a folder `masks` under its picture's name, beside it or above it (`masks/cat/1.png` for
`cat/1.jpg`), or beside its picture as `1-masklabel.png`. Sources: sd-scripts,
docs/masked_loss_README; OneTrainer, modules/dataLoader.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from loraloom.dataset import caption_file, images, notes
from loraloom.dataset.images import Facts
from loraloom.dataset.source import SourceFile, name_key
from loraloom.errors import ImageUnreadable
from loraloom.findings import Finding

FOLDER = "masks"
LABEL = "-masklabel"

Place = tuple[str, str]
"""A folder, and the name of a file in it without its ending, as `name_key` makes them."""


@dataclass
class Pairing:
    """The files of a source without the masks, and each mask by its picture's name."""

    files: list[SourceFile] = field(default_factory=list)
    masks: dict[str, SourceFile] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, mask: SourceFile, pictures: list[SourceFile]) -> None:
        """A mask of the one picture that has its name."""
        rival = self.masks.get(pictures[0].name)
        if rival or len(pictures) > 1:
            others = [rival] if rival else pictures
            names = " and ".join(file.name for file in others)
            why = "are masks of one picture" if rival else "could all be meant by one mask"
            self.findings.append(
                notes.error("ambiguous_mask", mask.name, f"with {names}: {why}", "keep one")
            )
        else:
            self.masks[pictures[0].name] = mask

    def leave_out(self, mask: SourceFile) -> None:
        """A mask of nothing."""
        self.findings.append(
            notes.warning("mask_without_picture", mask.name, "a mask without a picture")
        )


def pair_up(files: Iterable[SourceFile]) -> Pairing:
    """Tell masks from pictures."""
    files = list(files)
    pictures: dict[Place, list[SourceFile]] = defaultdict(list)
    for file in files:
        if file.suffix in images.SUFFIXES:
            pictures[_place(file)].append(file)
    pairing = Pairing()
    folders = _mask_folders(files, pictures)
    for file in files:
        is_picture = file.suffix in images.SUFFIXES
        folder, stem = _place(file)
        if is_picture and stem.endswith(LABEL):
            targets = pictures.get((folder, stem.removesuffix(LABEL)))
        elif is_picture and _mask_folder(folder) in folders:
            targets = pictures.get((_without_mask_folder(folder), stem))
        else:
            pairing.files.append(file)
            continue
        if targets:
            pairing.add(file, targets)
        else:
            pairing.leave_out(file)
    return pairing


def inspect(path: Path, name: str) -> Facts:
    """Size and kind of a mask; notes where nothing of the picture is learnt. Raises."""
    grey = read(path, name)
    told = () if grey.any() else ((("mask_empty", f"{name}: is black: nothing is learnt"),))
    return Facts(grey.shape[1], grey.shape[0], "PNG", told)


def read(path: Path, name: str) -> NDArray[np.uint8]:
    """(H, W) from 0, not learnt, to 255, learnt. Raises ImageUnreadable."""
    return decode(images.read_bytes(path), name)


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """As `read`, from bytes in memory."""
    rgb = images.decode_rgb(data, name, first_frame=True)
    return np.asarray(ImageOps.grayscale(rgb), np.uint8)


def to_image(grey: NDArray[np.uint8]) -> Image.Image:
    """A mask as it is written."""
    return Image.fromarray(grey)


def check_size(mask_px: tuple[int, int], picture_px: tuple[int, int], name: str) -> None:
    """Raise ImageUnreadable unless the mask has its picture's upright size."""
    if mask_px != picture_px:
        raise ImageUnreadable(
            f"{name}: is {mask_px[0]} × {mask_px[1]} px, its picture {picture_px[0]} × "
            f"{picture_px[1]} px; a mask has the size of its picture",
            "mask_size",
        )


def _place(file: SourceFile) -> Place:
    folder, name = posixpath.split(name_key(file.name))
    return folder, posixpath.splitext(name)[0]


def _mask_folder(folder: str) -> str:
    """The part of a path up to its last folder `masks`; "" where it has none."""
    parts = folder.split("/")
    if FOLDER not in parts:
        return ""
    return "/".join(parts[: len(parts) - parts[::-1].index(FOLDER)])


def _without_mask_folder(folder: str) -> str:
    """Where the pictures of a folder of masks are."""
    above = _mask_folder(folder)
    inside = folder[len(above) :].lstrip("/")
    return posixpath.join(posixpath.dirname(above), inside).rstrip("/")


def _mask_folders(
    files: Iterable[SourceFile], pictures: dict[Place, list[SourceFile]]
) -> frozenset[str]:
    """Folders of masks: one has the name of a picture in it, none has a caption."""
    found, captioned = set(), {""}
    for file in files:
        folder, stem = _place(file)
        above = _mask_folder(folder)
        if file.suffix in caption_file.SUFFIXES:
            captioned.add(above)
        elif file.suffix in images.SUFFIXES and (_without_mask_folder(folder), stem) in pictures:
            found.add(above)
    return frozenset(found - captioned)
