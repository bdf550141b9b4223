"""Clips and folders of frames as a base of video is trained on them.

A folder of frames, NAME/00001.png, … with NAME.txt beside it, is what `dataset prepare --frames`
writes: its frames are taken one after the other, in the order of their names.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from loraloom.dataset import caption_file, clips, images
from loraloom.dataset.prepare.motion import at_rate
from loraloom.dataset.prepare.segments import Segment
from loraloom.errors import ImageUnreadable


@dataclass(frozen=True)
class Footage:
    """What a clip or a folder of frames is; the size is that of its upright frames."""

    sha256: str
    width_px: int
    height_px: int
    frames: int
    fps: float
    """0 for a folder of frames, which has no rate of its own."""


def is_moving(path: Path) -> bool:
    """Whether it is a clip, by its name, or a folder of frames: one with a caption beside it."""
    if path.is_dir():
        return any((path.parent / f"{path.name}{end}").is_file() for end in caption_file.SUFFIXES)
    return path.suffix.lower() in images.CLIP_SUFFIXES


def read(path: Path) -> Footage:
    """Decode all of it. Raises ImageUnreadable."""
    if path.is_dir():
        return _read_frames(path)
    facts = clips.inspect(path, path.name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Footage(digest, facts.width_px, facts.height_px, facts.frames, facts.fps)


def frames(path: Path, count: int, fps: float) -> Iterator[Image.Image]:
    """The first `count` frames, of a clip at `fps` frames a second. Raises ImageUnreadable."""
    if path.is_dir():
        for file in _files(path)[:count]:
            yield images.open_rgb(file)
        return
    whole = Segment(0.0, math.inf, count)
    with clips.open_clip(path, path.name) as clip:
        for _, frame in at_rate(clip.frames(), [whole], fps):
            yield Image.fromarray(clips.upright_rgb(clip, frame))


def _read_frames(folder: Path) -> Footage:
    files = _files(folder)
    digest = hashlib.sha256()
    size = (0, 0)
    for file in files:
        name = f"{folder.name}/{file.name}"
        data = images.read_bytes(file)
        here = images.check_size(images.decode_rgb(data, name).size, name)
        if size not in ((0, 0), here):
            raise ImageUnreadable(
                f"{name}: has {here[0]} × {here[1]} px, and the frames before it {size[0]} × "
                f"{size[1]}; export them with one size",
                "clip_size_changes",
            )
        size = here
        digest.update(hashlib.sha256(data).digest())
    if len(files) < 2:
        count = "no frame" if not files else "a single frame"
        raise ImageUnreadable(
            f"{folder.name}: the folder holds {count}; a clip has two at least: export it again, "
            "or as a picture",
            "no_frames",
        )
    return Footage(digest.hexdigest(), *size, len(files), 0.0)


def _files(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in images.SUFFIXES]
    return sorted(files, key=_order)


def _order(path: Path) -> list[str | int]:
    """Numbers in the name by their size: 9.png before 10.png."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
