"""The set whose captions are made: a plain folder, or a stored dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from loraloom.captions import edit
from loraloom.captions.auto.seen import Item
from loraloom.captions.folder import read_captions
from loraloom.dataset import images, reference
from loraloom.dataset.snapshot import Contents, Picture
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CaptionerInvalid, FolderEmpty

WHAT = "automatic captions"


class Target(Protocol):
    """A set of pictures with captions."""

    @property
    def answers_at(self) -> Path:
        """How the names of files begin that keep answers until all captions are written."""

    @property
    def undo_command(self) -> str:
        """What takes the captions back."""

    def items(self) -> list[Item]:
        """Its pictures and clips in their order."""

    def write(self, captions: Mapping[str, str], seen: Mapping[str, str]) -> list[str]:
        """Write captions by key, in one step that can be undone; the keys that were written.

        An item whose caption is no longer what it was (`seen`), or that is gone, is left alone.
        """


def find_target(source: str) -> Target:
    """The folder, or the stored dataset of that name; a folder goes first.

    Raises CaptionerInvalid for a snapshot, FolderMissing, DatasetUnknown.
    """
    if not Path(source).exists() and reference.is_stored(source):
        if "@" in source:
            raise CaptionerInvalid(
                f"{source} is a snapshot, which never changes; name the dataset "
                f"{source.partition('@')[0]!r} instead."
            )
        return StoredTarget(Store().open(source))
    return FolderTarget(Path(source))


class FolderTarget:
    """A folder of pictures; each caption goes into a .txt beside its picture."""

    def __init__(self, root: Path) -> None:
        self._root = root
        resolved = root.resolve()
        self.answers_at = resolved.parent / f".{resolved.name}.auto-captions"
        self.undo_command = f"loraloom caption edit {root} --undo"

    def items(self) -> list[Item]:
        """Raises FolderMissing, FolderEmpty, DatasetProblems."""
        suffixes = images.SUFFIXES | images.CLIP_SUFFIXES
        found = [
            Item(
                key=file.name,
                name=file.name,
                path=self._root / file.name,
                caption=file.caption or "",
                is_clip=Path(file.name).suffix.lower() in images.CLIP_SUFFIXES,
            )
            for file in read_captions(self._root)
            if Path(file.name).suffix.lower() in suffixes
        ]
        if not found:
            raise FolderEmpty(f"{self._root} holds no picture to describe; name another folder.")
        return found

    def write(self, captions: Mapping[str, str], seen: Mapping[str, str]) -> list[str]:
        files = [
            file
            for file in read_captions(self._root)
            if file.name in captions and (file.caption or "") == seen[file.name]
        ]
        after = {file.name: captions[file.name] for file in files}
        edit.save(self._root, files, after, WHAT)
        return list(after)


class StoredTarget:
    """The working set of a stored dataset."""

    def __init__(self, stored: StoredDataset) -> None:
        self._stored = stored
        self.answers_at = stored.root / "auto-captions"
        self.undo_command = f"loraloom dataset undo {stored.name}"

    def items(self) -> list[Item]:
        """Raises FolderEmpty, DatasetDamaged."""
        contents = self._stored.working
        if not contents.pictures:
            raise FolderEmpty(f"The dataset {self._stored.name} holds no picture; import some.")
        named = Counter(picture.name for picture in contents.pictures)
        return [
            self._item(picture, contents, alone=named[picture.name] == 1)
            for picture in contents.pictures
        ]

    def write(self, captions: Mapping[str, str], seen: Mapping[str, str]) -> list[str]:
        written: list[str] = []

        def change(contents: Contents) -> Contents:
            pictures = []
            for picture in contents.pictures:
                key = picture.sha256
                if key in captions and picture.caption == seen[key]:
                    picture = replace(picture, caption=captions[key])
                    written.append(key)
                pictures.append(picture)
            return replace(contents, pictures=tuple(pictures))

        self._stored.edit(change, WHAT)
        return written

    def _item(self, picture: Picture, contents: Contents, *, alone: bool) -> Item:
        return Item(
            key=picture.sha256,
            name=picture.name if alone else f"{picture.concept}/{picture.name}",
            path=self._stored.objects.path(picture.sha256),
            caption=picture.caption,
            trigger=contents.concept(picture.concept).trigger,
            is_clip=picture.is_clip,
            crop=picture.crop,
        )


def lacks_caption(item: Item, trigger: str) -> bool:
    """Whether nothing is said of it: no caption, or the trigger alone."""
    said = re.sub(r"[\s,，]+", " ", item.caption).strip().casefold()
    return said in ("", trigger.strip().casefold(), item.trigger.strip().casefold())
