"""The set whose captions are read and written: a plain folder, or a stored dataset."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from loraloom.captions import edit, journal
from loraloom.captions.folder import read_captions
from loraloom.captions.lint import Captioned
from loraloom.dataset import images, reference
from loraloom.dataset.snapshot import Box, Contents, Picture
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CaptionEditInvalid, FolderEmpty


@dataclass(frozen=True)
class Item:
    """One picture or clip of a set, and the caption that it has."""

    key: str
    """Its name within the set."""
    name: str
    """How it is shown."""
    path: Path
    caption: str
    trigger: str = ""
    """Of its concept."""
    is_clip: bool = False
    crop: Box | None = None


class Target(Protocol):
    """A set of pictures with captions."""

    @property
    def answers_at(self) -> Path:
        """How the names of files begin that keep answers until all captions are written."""

    @property
    def undo_command(self) -> str:
        """What takes the captions back."""

    def items(self) -> list[Item]:
        """All that has a caption, or could have one, in its order."""

    def pictures(self) -> list[Item]:
        """Its pictures and clips in their order. Raises FolderEmpty where there are none."""

    def write(self, captions: Mapping[str, str], seen: Mapping[str, str], what: str) -> list[str]:
        """Write captions by key, in one step that can be undone; the keys that were written.

        An item whose caption is no longer what it was (`seen`), or that is gone, is left alone.
        """

    def undo(self) -> tuple[str, int]:
        """Take the last change back: what it was, and how many captions changed again."""


def find_target(source: str, *, writing: bool = True) -> Target:
    """The folder, or the stored dataset of that name; a folder goes first. A snapshot, NAME@HASH,
    can only be read.

    Raises CaptionEditInvalid for `writing` a snapshot, FolderMissing, DatasetUnknown.
    """
    if not reference.is_stored(source):
        return FolderTarget(Path(source))
    stored, snapshot = reference.open_stored(source)
    if snapshot and writing:
        raise CaptionEditInvalid(
            f"{source} is a snapshot, which never changes; name the dataset {stored.name!r} "
            "instead."
        )
    return StoredTarget(stored, snapshot)


def with_trigger(items: Iterable[Item], trigger: str) -> list[Item]:
    """Each item with its concept's trigger, or the one given. Raises CaptionEditInvalid."""
    found = []
    for item in items:
        if trigger and item.trigger and item.trigger != trigger:
            raise CaptionEditInvalid(
                f"{item.name} belongs to a concept with the trigger {item.trigger!r}, and "
                f"--trigger says {trigger!r}; leave --trigger out, or change the concept."
            )
        found.append(replace(item, trigger=item.trigger or trigger))
    return found


class FolderTarget:
    """A folder of pictures; each caption goes into a .txt beside its picture."""

    def __init__(self, root: Path) -> None:
        self._root = root
        resolved = root.resolve()
        self.answers_at = resolved.parent / f".{resolved.name}.auto-captions"
        self.undo_command = f"loraloom caption edit {root} --undo"

    def items(self) -> list[Item]:
        """Raises FolderMissing, FolderEmpty, DatasetProblems."""
        return [
            Item(
                key=file.name,
                name=file.name,
                path=self._root / file.name,
                caption=file.caption or "",
                is_clip=Path(file.name).suffix.lower() in images.CLIP_SUFFIXES,
            )
            for file in read_captions(self._root)
        ]

    def pictures(self) -> list[Item]:
        """Raises FolderMissing, FolderEmpty, DatasetProblems."""
        suffixes = images.SUFFIXES | images.CLIP_SUFFIXES
        found = [item for item in self.items() if item.path.suffix.lower() in suffixes]
        if not found:
            raise FolderEmpty(f"{self._root} holds no picture to describe; name another folder.")
        return found

    def write(self, captions: Mapping[str, str], seen: Mapping[str, str], what: str) -> list[str]:
        files = [
            file
            for file in read_captions(self._root)
            if file.name in captions and (file.caption or "") == seen[file.name]
        ]
        after = {file.name: captions[file.name] for file in files}
        edit.save(self._root, files, after, what)
        return list(after)

    def undo(self) -> tuple[str, int]:
        """Raises NothingToUndo, CaptionsChanged."""
        return journal.undo(self._root)


class StoredTarget:
    """The working set of a stored dataset, or a snapshot of it, which is only read."""

    def __init__(self, stored: StoredDataset, snapshot: str | None = None) -> None:
        self._stored = stored
        self._snapshot = snapshot
        self.answers_at = stored.root / "auto-captions"
        self.undo_command = f"loraloom dataset undo {stored.name}"

    def items(self) -> list[Item]:
        """Raises FolderEmpty, DatasetDamaged."""
        contents = (
            self._stored.read_snapshot(self._snapshot) if self._snapshot else self._stored.working
        )
        if not contents.pictures:
            raise FolderEmpty(f"The dataset {self._stored.name} holds no picture; import some.")
        named = Counter(picture.name for picture in contents.pictures)
        return [
            self._item(picture, contents, alone=named[picture.name] == 1)
            for picture in contents.pictures
        ]

    def pictures(self) -> list[Item]:
        """Raises FolderEmpty, DatasetDamaged."""
        return self.items()

    def write(self, captions: Mapping[str, str], seen: Mapping[str, str], what: str) -> list[str]:
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

        self._stored.edit(change, what)
        return written

    def undo(self) -> tuple[str, int]:
        """Raises NothingToUndo."""
        before = self._captions()
        undone = self._stored.undo()
        return undone, len(dict(before.items() ^ self._captions().items()))

    def _captions(self) -> dict[str, str]:
        return {picture.sha256: picture.caption for picture in self._stored.working.pictures}

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


def by_trigger(items: Iterable[Item]) -> dict[str, list[Captioned]]:
    """The captions of each trigger, as lint and fix take them."""
    found: dict[str, list[Captioned]] = {}
    for item in items:
        found.setdefault(item.trigger, []).append(Captioned(item.name, item.caption or None))
    return found


def write_named(
    target: Target, items: Iterable[Item], captions: Mapping[str, str], what: str
) -> list[str]:
    """Write captions by the names of `items`, as they were read; the keys that were written."""
    chosen = {item.key: item for item in items if item.name in captions}
    after = {key: captions[item.name] for key, item in chosen.items()}
    return target.write(after, {key: item.caption for key, item in chosen.items()}, what)


def lacks_caption(item: Item, trigger: str) -> bool:
    """Whether nothing is said of it: no caption, or the trigger alone."""
    said = re.sub(r"[\s,，]+", " ", item.caption).strip().casefold()
    return said in ("", trigger.strip().casefold(), item.trigger.strip().casefold())
