"""The captions of a folder of pictures: read as they are, written whole or not at all."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from loraloom.captions.lint import Captioned
from loraloom.dataset import caption_file
from loraloom.errors import CaptionUnreadable, DatasetProblems, FolderEmpty, FolderMissing

PICTURES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif",
     ".mp4", ".mov", ".webm", ".mkv")
)  # fmt: skip


@dataclass(frozen=True)
class CaptionFile:
    """One picture or clip, or a caption without one, and where its caption is or would be."""

    name: str
    path: Path
    caption: str | None

    @property
    def captioned(self) -> Captioned:
        return Captioned(self.name, self.caption)


def read_captions(root: Path) -> list[CaptionFile]:
    """The captions in `root`, sorted by name; subfolders are not read.

    Raises FolderMissing, FolderEmpty, or DatasetProblems with all captions that are not text.
    """
    if not root.is_dir():
        raise FolderMissing(f"The folder {root} does not exist; check the path")
    files = sorted(p for p in root.iterdir() if p.is_file() and not p.name.startswith("."))
    names: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for path in files:
        stem = unicodedata.normalize("NFC", path.stem).casefold()
        if path.suffix.lower() in PICTURES:
            names[stem] = path.name
            paths.setdefault(stem, path.with_suffix(".txt"))
    alone = not names  # a folder of captions only: each stands for itself
    for path in files:
        stem = unicodedata.normalize("NFC", path.stem).casefold()
        if path.suffix.lower() in caption_file.SUFFIXES and (alone or stem in names):
            names.setdefault(stem, path.name)
            paths[stem] = path
    if not names:
        raise FolderEmpty(f"{root} holds neither pictures nor captions")
    return _read_all([(names[stem], paths[stem]) for stem in sorted(paths)])


def content(caption: str) -> bytes:
    """What a caption file holds."""
    return f"{caption}\n".encode()


def _read_all(files: list[tuple[str, Path]]) -> list[CaptionFile]:
    found, problems = [], []
    for name, path in files:
        try:
            found.append(CaptionFile(name, path, _read(path)))
        except CaptionUnreadable as error:
            problems.append(str(error))
    if problems:
        raise DatasetProblems(problems)
    return found


def _read(path: Path) -> str | None:
    if not path.is_file() or not path.stat().st_size:
        return None
    try:
        return caption_file.read_caption(path)
    except CaptionUnreadable as error:
        if "is empty" in str(error):
            return None
        raise
