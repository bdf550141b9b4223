"""What `data.folder` names: a plain folder, a stored dataset, or one of its snapshots."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from loraloom.dataset.folder import Dataset, Item, count_pictures, has_word, read_folder
from loraloom.dataset.snapshot import Concept, Contents, Picture
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetProblems, FolderEmpty

REFERENCE = re.compile(r"([^@/\\]+)(?:@([0-9a-fA-F]+))?")


def is_stored(source: str | Path) -> bool:
    """Whether `NAME` or `NAME@HASH` means a stored dataset; a folder of that name goes first."""
    found = REFERENCE.fullmatch(str(source))
    return found is not None and not Path(source).exists() and Store().has(found[1])


def pin(source: str | Path, *, keep: bool = True) -> dict[str, Any]:
    """The settings that a stored dataset brings to a run; none for a plain folder.

    NAME becomes NAME@HASH: the working set is kept as a snapshot, so that the run's pictures never
    change; without `keep` it is only looked at. The trigger is that of its only concept. Raises
    DatasetUnknown, FolderEmpty.
    """
    if not is_stored(source):
        return {}
    dataset, prefix = open_stored(source)
    if prefix is None and not dataset.working.pictures:
        raise FolderEmpty(f"The dataset {dataset.name} holds no picture; import some.")
    name, concepts = dataset.name, dataset.working.concepts
    if prefix or keep:
        whole = dataset.find(prefix) if prefix else dataset.snapshot("taken for a training run")
        name, concepts = f"{name}@{whole}", dataset.read_snapshot(whole).concepts
    settings: dict[str, Any] = {"data": {"folder": name}}
    if len(concepts) == 1 and concepts[0].trigger:
        settings["trigger"] = concepts[0].trigger
    return settings


def count(source: str | Path, *, clips: bool = False) -> int:
    """How many pictures `read` would give. Raises FolderMissing, DatasetUnknown."""
    if not is_stored(source):
        return count_pictures(Path(source), clips=clips)
    return len(open_contents(source)[1].pictures)


def read(source: str | Path, *, clips: bool = False) -> Dataset:
    """The pictures, checked: of a folder decoded, of a stored dataset compared with their hashes.

    Clips are among them for a base of video, `clips`; others refuse them.

    Raises FolderMissing, FolderEmpty, DatasetUnknown, DatasetDamaged, or DatasetProblems.
    """
    if not is_stored(source):
        return read_folder(Path(source), clips=clips)
    return _dataset(*open_contents(source), clips=clips)


def open_contents(source: str | Path) -> tuple[StoredDataset, Contents]:
    """The dataset that `source` names, and what it holds, now or in the snapshot named.

    Raises DatasetUnknown, DatasetDamaged.
    """
    dataset, prefix = open_stored(source)
    return dataset, dataset.read_snapshot(prefix) if prefix else dataset.working


def open_stored(source: str | Path) -> tuple[StoredDataset, str | None]:
    """The dataset that `source` names, and how the snapshot begins if it names one."""
    found = REFERENCE.fullmatch(str(source))
    assert found is not None, "is_stored said so"
    return Store().open(found[1]), found[2]


def _dataset(stored: StoredDataset, contents: Contents, *, clips: bool) -> Dataset:
    """Items whose captions have the trigger of their concept. Raises what is wrong with them."""
    bare = [picture.name for picture in contents.pictures if not picture.caption]
    if bare:
        raise DatasetProblems(
            [f"{name}: has no caption; give it one in the dataset {stored.name}" for name in bare]
        )
    moving = [picture.name for picture in contents.pictures if picture.is_clip]
    if moving and not clips:
        raise DatasetProblems(
            [f"{name}: is a clip, and this base learns from pictures; `loraloom dataset prepare "
             f"{stored.name} --frames` takes them out of clips" for name in moving]
        )  # fmt: skip
    for picture in contents.pictures:
        stored.objects.verify(picture.sha256, picture.name)
        if picture.mask:
            stored.objects.verify(picture.mask, f"the mask of {picture.name}")
    items: list[Item] = []
    notes: list[str] = []
    for concept in contents.concepts:
        own = [p for p in contents.pictures if p.concept == concept.name]
        items += (_item(stored, picture, concept) for picture in own)
        changed = sum(not _has(picture.caption, concept.trigger) for picture in own)
        if changed:
            notes.append(
                f"{changed} captions of the concept {concept.name!r} lacked its trigger "
                f"{concept.trigger!r}; it was put first in each."
            )
    return Dataset(stored.root, tuple(items), contents.hash, tuple(notes))


def _item(stored: StoredDataset, picture: Picture, concept: Concept) -> Item:
    lacks = not _has(picture.caption, concept.trigger)
    size = picture.crop[2:] if picture.crop else (picture.width_px, picture.height_px)
    return Item(
        stored.objects.path(picture.sha256),
        f"{concept.trigger}, {picture.caption}" if lacks else picture.caption,
        picture.sha256,
        *size,
        concept.repeats,
        picture.crop,
        stored.objects.path(picture.mask) if picture.mask else None,
        picture.mask,
        picture.frames,
        picture.fps,
    )


def _has(caption: str, trigger: str) -> bool:
    return has_word(caption, trigger) if trigger else True
