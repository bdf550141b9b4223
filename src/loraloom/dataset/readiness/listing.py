"""The pictures of a folder and of its concepts, whatever is wrong with them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from loraloom.dataset import caption_file, images
from loraloom.errors import CaptionUnreadable, FolderEmpty, FolderMissing

REPEATS = re.compile(r"^\d+_")
"""A subfolder may start with its repeats, as in "10_ohwx woman"."""


@dataclass(frozen=True)
class Picture:
    """A picture file, its caption, and the concept it belongs to."""

    path: Path
    name: str
    """Relative to the folder, with forward slashes."""
    concept: str
    """The subfolder at the top, without its repeats; empty for the folder itself."""
    caption: str
    """Empty where there is none that can be read."""


def list_pictures(root: Path) -> list[Picture]:
    """Every picture and clip in `root` and its subfolders by name.

    Raises FolderMissing, FolderEmpty.
    """
    if not root.exists():
        raise FolderMissing(f"The folder {root} does not exist; check the path")
    if not root.is_dir():
        raise FolderMissing(f"{root} is a file; name the folder that holds the pictures")
    pictures: list[Picture] = []
    for folder, subfolders, names in os.walk(root, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        pictures += _pictures_of(root, Path(folder), names)
    if not pictures:
        raise FolderEmpty(
            f"{root} holds no picture; expected files such as 01.png with a caption in 01.txt"
        )
    return sorted(pictures, key=lambda picture: picture.name)


def is_clip(path: Path) -> bool:
    """Whether it moves, by its name."""
    return path.suffix.lower() in images.CLIP_SUFFIXES


def triggers(pictures: list[Picture]) -> dict[str, str]:
    """Concept -> the words before the first comma that most of its captions share."""
    found = {}
    for concept in sorted({picture.concept for picture in pictures}):
        captions = [p.caption for p in pictures if p.concept == concept and p.caption]
        firsts = Counter(re.split("[,，、]", caption)[0].strip() for caption in captions)
        if firsts:
            words, count = firsts.most_common(1)[0]
            if count > len(captions) / 2:
                found[concept] = words
    return found


def _refuse(error: OSError) -> None:
    raise FolderMissing(f"{error.filename} cannot be read ({error.strerror})") from error


def _pictures_of(root: Path, folder: Path, names: list[str]) -> list[Picture]:
    inside = folder.relative_to(root)
    concept = REPEATS.sub("", inside.parts[0]) if inside.parts else ""
    seen = [Path(name) for name in names if not name.startswith(".")]
    captions = {_stem(n): folder / n for n in seen if n.suffix.lower() in caption_file.SUFFIXES}
    return [
        Picture(
            folder / name, (inside / name).as_posix(), concept, _read(captions.get(_stem(name)))
        )
        for name in seen
        if name.suffix.lower() in images.SUFFIXES | images.CLIP_SUFFIXES
    ]


def _stem(name: Path) -> str:
    return unicodedata.normalize("NFC", name.stem).casefold()


def _read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return caption_file.read_caption(path)
    except CaptionUnreadable:
        return ""
