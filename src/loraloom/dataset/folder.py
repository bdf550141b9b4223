"""A folder of pictures, or clips, with captions beside them, read and checked at once."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from loraloom.dataset import caption_file, footage, images, masks, notes
from loraloom.dataset.source import SourceFile, shown_name
from loraloom.errors import (
    CaptionMissing,
    CaptionUnreadable,
    DatasetProblems,
    FolderEmpty,
    FolderMissing,
    ImageUnreadable,
)
from loraloom.findings import Severity

MASKS = "masks"
# Kinds that people drop into such a folder and that are not read: named, never passed over.
FOREIGN_SUFFIXES = frozenset(
    (".svg", ".eps", ".pdf", ".psd", ".raw", ".cr2", ".nef", ".arw", ".dng",
     ".jxl", ".zip", ".rar", ".7z", ".mp4", ".mov", ".webm", ".mkv", ".avi")
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One picture and its caption; sizes are those of the upright picture."""

    path: Path
    caption: str
    sha256: str
    width_px: int
    height_px: int
    repeats: int = 1
    """How often it counts among the others."""
    region: tuple[int, int, int, int] | None = None
    """Left, top, width, height of the part that is used; the sizes above are that part's."""
    mask: Path | None = None
    """A grey picture of the size of the whole picture: 255 is learnt, 0 is not; None: all is."""
    mask_sha256: str = ""
    frames: int = 0
    """Of a clip or a folder of frames; 0: it is a picture."""
    fps: float = 0.0
    """Of a clip, on average; 0 for a folder of frames, which is taken frame by frame."""

    def frames_at(self, fps: float) -> int:
        """How many frames it has at that rate; a picture has one."""
        return math.floor(self.frames / self.fps * fps + 1e-3) if self.fps else max(self.frames, 1)


@dataclass(frozen=True)
class Dataset:
    """The pictures of one folder, sorted by file name, or of a stored dataset."""

    root: Path
    items: tuple[Item, ...]
    snapshot: str = ""
    """The hash of the stored snapshot that they are; empty for a plain folder."""
    notes: tuple[str, ...] = ()
    """What was changed in the captions, in sentences."""

    @property
    def hash(self) -> str:
        """SHA-256 over what pictures, captions and masks are, whatever the files are called."""
        content = sorted(
            (item.sha256, item.caption, *filter(None, [item.mask_sha256])) for item in self.items
        )
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_folder(root: Path, *, clips: bool = False) -> Dataset:
    """Every picture in `root` (not its subfolders) with the `.txt` or `.caption` beside it, and
    its mask, where it has one, from `masks/` or as `-masklabel.png`; see dataset/masks.py.

    With `clips` clips too, and folders of frames, which are refused otherwise.

    Raises FolderMissing, FolderEmpty, or DatasetProblems with all that is wrong in one list.
    """
    files = _read_names(root)
    pictures, captions, problems = _pair_up(files.others, clips=clips)
    problems += files.problems
    if not pictures and not problems:
        raise FolderEmpty(
            f"{root} holds no picture; expected files such as 01.png with a caption in 01.txt"
        )
    items: list[Item] = []
    for stem, picture in pictures.items():
        try:
            mask = files.masks.get(picture.name)
            items.append(_read_item(picture, captions.get(stem), mask))
        except DatasetProblems as error:
            problems += error.problems
    if problems:
        raise DatasetProblems(sorted(problems))
    return Dataset(root, tuple(items), notes=files.notes)


def count_pictures(root: Path, *, clips: bool = False) -> int:
    """How many pictures `read_folder` would open. Raises FolderMissing."""
    pictures, _, _ = _pair_up(_read_names(root).others, clips=clips)
    return len(pictures)


def with_trigger(dataset: Dataset, trigger: str) -> tuple[Dataset, int]:
    """`dataset` with `trigger` in every caption, and how many captions were changed.

    It is put first where no caption has it. When only some have it nobody can tell what was
    meant: raises DatasetProblems naming the others.
    """
    if not trigger:
        return dataset, 0
    lacking = [item for item in dataset.items if not has_word(item.caption, trigger)]
    if not lacking:
        return dataset, 0
    if len(lacking) < len(dataset.items):
        raise DatasetProblems(
            [f"{item.path.name}: the caption lacks the trigger '{trigger}' that others have; "
             "write it into all captions or into none" for item in lacking]
        )  # fmt: skip
    items = tuple(replace(item, caption=f"{trigger}, {item.caption}") for item in dataset.items)
    return replace(dataset, items=items), len(items)


def has_word(caption: str, trigger: str) -> bool:
    """Whether the trigger stands in the caption, as a word of its own, in any letter case."""
    return bool(re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE))


@dataclass(frozen=True)
class _Files:
    """What lies in a folder: masks by the names of their pictures, and all else."""

    others: list[Path]
    masks: dict[str, Path]
    problems: list[str]
    notes: tuple[str, ...]


def _read_names(root: Path) -> _Files:
    """Raises FolderMissing."""
    paths = _visible_files(root)
    inner = next((p for p in root.iterdir() if p.name.lower() == MASKS and p.is_dir()), None)
    if inner is not None:
        paths += _visible_files(inner)
    named = [
        SourceFile(shown_name(path.relative_to(root).as_posix()), lambda: iter(()), path)
        for path in paths
    ]
    pairing = masks.pair_up(named)
    by_name = {file.name: file.at for file in named}
    found: dict[str, Path] = {}
    for name, mask in pairing.masks.items():
        picture = by_name[name]
        if picture is not None and mask.at is not None and picture.parent == root:
            found[picture.name] = mask.at
    errors = [f for f in pairing.findings if f.severity is Severity.ERROR]
    moving = {path.stem.casefold() for path in paths if footage.is_moving(path)}
    unused = [
        f"{file.name}: clips have no masks, and this one is not used."
        for file in pairing.files
        if file.at and file.at.parent != root and file.at.stem.casefold() in moving
    ]
    return _Files(
        others=[file.at for file in pairing.files if file.at and file.at.parent == root],
        masks=found,
        problems=[notes.sentence(finding) for finding in errors],
        notes=(
            *(notes.sentence(f) + "." for f in pairing.findings if f not in errors),
            *unused,
        ),
    )


def _visible_files(root: Path) -> list[Path]:
    if not root.exists():
        raise FolderMissing(f"The folder {root} does not exist; check the path")
    if not root.is_dir():
        raise FolderMissing(f"{root} is a file; name the folder that holds the pictures")
    try:
        return sorted(
            p
            for p in root.iterdir()
            if not p.name.startswith(".") and (p.is_file() or footage.is_moving(p))
        )
    except OSError as error:
        raise FolderMissing(f"The folder {root} cannot be read ({error.strerror})") from error


def _pair_up(
    files: list[Path], *, clips: bool
) -> tuple[dict[str, Path], dict[str, Path], list[str]]:
    """Pictures and captions by stem, and what cannot be paired."""
    pictures: dict[str, list[Path]] = defaultdict(list)
    captions: dict[str, list[Path]] = defaultdict(list)
    problems: list[str] = []
    for path in files:
        suffix = path.suffix.lower()
        # Names that some file systems hold to be the same must be the same here too.
        stem = path.name if path.is_dir() else path.stem
        stem = unicodedata.normalize("NFC", stem).casefold()
        if clips and footage.is_moving(path):
            pictures[stem].append(path)
        elif path.is_dir():
            continue
        elif suffix in images.SUFFIXES:
            pictures[stem].append(path)
        elif suffix in caption_file.SUFFIXES:
            captions[stem].append(path)
        elif suffix in FOREIGN_SUFFIXES:
            problems.append(f"{path.name}: {suffix} files are not accepted; convert it to PNG")
    for twins in [*pictures.values(), *captions.values()]:
        if len(twins) > 1:
            names = " and ".join(path.name for path in twins)
            problems.append(f"{names}: share one name; keep one or rename the others")
    for stem in captions.keys() - pictures.keys():
        problems += [f"{path.name}: a caption without a picture" for path in captions[stem]]
    return _firsts(pictures), _firsts(captions), problems


def _firsts(groups: dict[str, list[Path]]) -> dict[str, Path]:
    return {stem: paths[0] for stem, paths in groups.items()}


def _read_item(picture: Path, caption_path: Path | None, mask: Path | None) -> Item:
    """One item. Raises DatasetProblems with what is wrong in picture, caption and mask alike."""
    problems: list[str] = []
    caption, digest, mask_sha256, size = "", "", "", (0, 0)
    count, fps = 0, 0.0
    try:
        caption = _caption_of(picture, caption_path)
    except (CaptionMissing, CaptionUnreadable) as error:
        problems.append(str(error))
    try:
        if footage.is_moving(picture):
            found = footage.read(picture)
            digest, size = found.sha256, (found.width_px, found.height_px)
            count, fps = found.frames, found.fps
        else:
            data = images.read_bytes(picture)
            digest = hashlib.sha256(data).hexdigest()
            size = images.check_size(images.decode_rgb(data, picture.name).size, picture.name)
        if mask is not None:
            mask_sha256 = _check_mask(mask, size)
    except ImageUnreadable as error:
        problems.append(str(error))
    if problems:
        raise DatasetProblems(problems)
    return Item(
        picture, caption, digest, *size,
        mask=mask, mask_sha256=mask_sha256, frames=count, fps=fps,
    )  # fmt: skip


def _check_mask(mask: Path, picture_px: tuple[int, int]) -> str:
    """Its SHA-256. Raises ImageUnreadable where it cannot be read or has another size."""
    data, name = images.read_bytes(mask), f"{mask.parent.name}/{mask.name}"
    grey = masks.decode(data, name)
    masks.check_size((grey.shape[1], grey.shape[0]), picture_px, name)
    return hashlib.sha256(data).hexdigest()


def _caption_of(picture: Path, caption_path: Path | None) -> str:
    if caption_path is None:
        raise CaptionMissing(
            f"{picture.name}: has no caption; say what it shows in {picture.stem}.txt beside it"
        )
    return caption_file.read_caption(caption_path)
