"""One stored dataset: its working set, which is edited, and its snapshots, which never change."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from loraloom.dataset import crops
from loraloom.dataset.lock import locked
from loraloom.dataset.objects import Objects
from loraloom.dataset.snapshot import (
    Box,
    Concept,
    Contents,
    Picture,
    alike_pair,
    check_concept,
    from_json,
    in_use,
    joined_alike,
)
from loraloom.errors import CropInvalid, DatasetDamaged, DatasetUnknown, NothingToUndo
from loraloom.files import telling_failures, write_atomic

V = TypeVar("V")

KEPT_STATES = 50
"""How many edits can be undone."""
READ_SNAPSHOTS = 20
"""In how many of the newest snapshots earlier captions are looked for."""
SHORTEST_PREFIX = 4


@dataclass(frozen=True)
class SnapshotInfo:
    """A snapshot without its pictures."""

    hash: str
    made_s: float
    """Seconds since 1970, by this machine's clock."""
    pictures: int
    note: str


@dataclass(frozen=True)
class EarlierCaption:
    """What a caption was: before an edit, or in a version."""

    caption: str
    at_s: float
    """When it was replaced, or the version kept, in seconds since 1970."""
    edit: str = ""
    """The edit, in words, that replaced it."""
    version: str = ""


class StoredDataset:
    """A dataset in its folder. Reading needs no lock; every change is atomic and takes it."""

    def __init__(self, root: Path, lock_path: Path) -> None:
        self.root = root
        self.name = root.name
        self.objects = Objects(root / "objects")
        self._lock_path = lock_path
        self._working = root / "working"

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock, and sweep what a killed process left. Raises DatasetBusy."""
        with locked(self._lock_path, f"The dataset {self.name}"):
            for left in self.root.glob(".incoming-*"):
                shutil.rmtree(left, ignore_errors=True)
            for folder in (self._working, self.root / "snapshots"):
                for part in folder.glob(".*.tmp"):
                    part.unlink(missing_ok=True)
            yield

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """An empty folder on the same disk, gone at the end; under the lock."""
        with telling_failures(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder if self.exists else self.root, ignore_errors=True)

    # The working set

    @property
    def exists(self) -> bool:
        """Whether anything was ever stored."""
        return (self._working / "HEAD").is_file()

    @property
    def working(self) -> Contents:
        """The state that holds; empty before the first import. Raises DatasetDamaged."""
        if not self.exists:
            return Contents()
        return self._read(self._state_path(self._head()))

    @property
    def last_edit(self) -> str:
        """What the last edit was, in words."""
        return _told(*_facts(self._state_path(self._head())))[0]

    def make(self) -> None:
        """Let it be there, empty, where it is not yet."""
        with self.changing():
            if not self.exists:
                tree = {**Contents().to_json(), "edit": "made"}
                write_atomic(self._state_path(0), _encode(tree))
                self._set_head(0)

    @property
    def can_undo(self) -> bool:
        """Whether an earlier state is kept."""
        return self.exists and self._state_path(self._head() - 1).is_file()

    def edit(self, change: Callable[[Contents], Contents], what: str) -> Contents:
        """Put `change(working)` in the place of the working set; it can be undone."""
        with self.changing():
            return self.put(change(self.working), what)

    def put(self, contents: Contents, what: str) -> Contents:
        """As `edit`, for those who hold the lock."""
        concepts = tuple(map(check_concept, in_use(contents.concepts, contents.pictures)))
        present = {picture.sha256 for picture in contents.pictures}
        alike = tuple(pair for pair in contents.alike if present.issuperset(pair))
        contents = replace(contents, concepts=concepts, alike=alike)
        if not self.exists:
            write_atomic(self._state_path(0), _encode({**Contents().to_json(), "edit": "made"}))
            self._write_state(1, contents, what)
        elif contents != self.working:
            self._write_state(self._head() + 1, contents, what)
        return contents

    def set_captions(self, captions: Mapping[str, str], what: str = "captions") -> Contents:
        """Give pictures, named by SHA-256, new captions. Raises DatasetUnknown."""
        return self._change_pictures(captions, lambda p, text: replace(p, caption=text), what)

    def move(self, shas: Iterable[str], concept: str) -> Contents:
        """Put pictures into a concept. Raises DatasetUnknown, DatasetNameInvalid."""
        targets = dict.fromkeys(shas, concept)
        return self._change_pictures(
            targets, lambda p, name: replace(p, concept=name), f"moved to {concept}"
        )

    def discard(self, shas: Iterable[str]) -> Contents:
        """Take pictures out of the working set; snapshots keep them. Raises DatasetUnknown."""
        gone = dict.fromkeys(shas, "")
        return self._change_pictures(gone, lambda p, _: None, f"took out {len(gone)} pictures")

    def keep_both(self, one: str, other: str) -> Contents:
        """Let two pictures stand that look like copies of each other. Raises DatasetUnknown."""
        pair = alike_pair(one, other)

        def apply(contents: Contents) -> Contents:
            self._check_pair(contents, pair)
            return replace(contents, alike=joined_alike(contents.alike, [pair]))

        return self.edit(apply, "kept two pictures that are alike")

    def keep_one(self, kept: str, gone: str) -> Contents:
        """Take one of two copies out, while the other is there. Raises DatasetUnknown."""

        def apply(contents: Contents) -> Contents:
            self._check_pair(contents, (kept, gone))
            return replace(
                contents, pictures=tuple(p for p in contents.pictures if p.sha256 != gone)
            )

        return self.edit(apply, "took out one of two copies")

    def _check_pair(self, contents: Contents, pair: tuple[str, str]) -> None:
        if missing := sorted({*pair} - {picture.sha256 for picture in contents.pictures}):
            raise DatasetUnknown(f"{self.name} has no picture {missing[0][:12]}.")
        if pair[0] == pair[1]:
            raise DatasetUnknown(f"{pair[0][:12]} is one picture; two are a pair.")

    def set_crops(self, parts: Mapping[str, Box | None], what: str = "crops") -> Contents:
        """Use a part of pictures, named by SHA-256; None: all of it again.

        Raises DatasetUnknown, CropInvalid.
        """

        def change(picture: Picture, box: Box | None) -> Picture:
            if box and picture.is_clip:
                raise CropInvalid(f"{picture.name}: is a clip; only pictures can be cropped.")
            if box:
                crops.check(box, (picture.width_px, picture.height_px), picture.name)
            return replace(picture, crop=box)

        return self._change_pictures(parts, change, what)

    def set_concepts(
        self,
        concepts: Iterable[Concept],
        check: Callable[[Contents], None] = lambda contents: None,
    ) -> Contents:
        """Describe concepts anew, unless `check` refuses what there is.

        Raises DatasetUnknown, DatasetNameInvalid.
        """
        given = {concept.name: concept for concept in concepts}

        def change(contents: Contents) -> Contents:
            check(contents)
            counts = contents.counts()
            if unknown := [name for name in given if name not in counts]:
                raise DatasetUnknown(
                    f"{self.name} has no concept {unknown[0]!r}. Concepts: {', '.join(counts)}."
                )
            updated = tuple(given.get(name, contents.concept(name)) for name in counts)
            return replace(contents, concepts=updated)

        return self.edit(change, "concepts")

    def undo(self) -> str:
        """Go back by one edit; returns what was undone. Raises NothingToUndo."""
        with self.changing():
            number, undone = self._head(), self.last_edit
            if not self._state_path(number - 1).is_file():
                raise NothingToUndo(f"No earlier state of {self.name} is kept.")
            self._set_head(number - 1)
            return undone

    def earlier_captions(self, sha256: str) -> list[EarlierCaption]:
        """What a picture's caption was before, in the states that are kept and in the newest
        snapshots, the latest first; each text once."""
        if not self.exists:
            return []
        head = self._head()
        found, edit, replaced_s, now = dict[str, EarlierCaption](), "", 0.0, ""
        for number in range(head, max(head - KEPT_STATES - 1, -1), -1):
            path = self._state_path(number)
            if not path.is_file():
                break
            tree = _read_tree(path)
            caption = _caption_in(tree, sha256)
            if number == head:
                now = caption
            elif caption and caption != now:
                found.setdefault(caption, EarlierCaption(caption, replaced_s, edit=edit))
            edit, replaced_s = str(tree.get("edit", "")), path.stat().st_mtime
        for info in self.snapshots()[: -READ_SNAPSHOTS - 1 : -1]:
            caption = _caption_in(_read_tree(self._snapshot_path(info.hash)), sha256)
            if caption and caption != now:
                kept = EarlierCaption(caption, info.made_s, version=info.hash)
                found.setdefault(caption, kept)
        return sorted(found.values(), key=lambda one: one.at_s, reverse=True)

    # Snapshots

    def snapshot(self, note: str = "") -> str:
        """Keep the working set for ever; returns its hash. One that is there stays as it is, but
        learns which pictures are kept both."""
        with self.changing():
            contents = self.working
            path = self._snapshot_path(contents.hash)
            if path.is_file():
                known = self._read(path).alike
                alike = joined_alike(known, contents.alike)
                if alike != known:
                    write_atomic(path, _encode({**_read_tree(path), "alike": alike}))
            else:
                tree = {**contents.to_json(), "made_s": time.time(), "note": note}
                write_atomic(path, _encode(tree))
            return contents.hash

    def snapshots(self) -> list[SnapshotInfo]:
        """All of them, oldest first."""
        infos = []
        for path in (self.root / "snapshots").glob("*.json"):
            _, note, made_s, pictures = _told(*_facts(path))
            infos.append(SnapshotInfo(path.stem, made_s, pictures, note))
        return sorted(infos, key=lambda info: (info.made_s, info.hash))

    def find(self, prefix: str) -> str:
        """The whole hash of the one snapshot that begins so. Raises DatasetUnknown."""
        hashes = [path.stem for path in (self.root / "snapshots").glob("*.json")]
        found = [known for known in hashes if known.startswith(prefix.lower())]
        if len(prefix) < SHORTEST_PREFIX or len(found) != 1:
            reason = "has several snapshots" if len(found) > 1 else "has no snapshot"
            known = ", ".join(info.hash[:12] for info in self.snapshots()) or "none yet"
            raise DatasetUnknown(
                f"{self.name} {reason} that begin with {prefix!r} ({SHORTEST_PREFIX} characters at "
                f"least). Snapshots: {known}."
            )
        return found[0]

    def read_snapshot(self, prefix: str) -> Contents:
        """Raises DatasetUnknown, DatasetDamaged."""
        whole = self.find(prefix)
        contents = self._read(self._snapshot_path(whole))
        if contents.hash != whole:
            raise DatasetDamaged(f"The snapshot {whole[:12]} of {self.name} is not what it was.")
        return contents

    def restore(self, prefix: str) -> Contents:
        """Make the working set what a snapshot holds; it can be undone. Pictures that are kept
        both by now stay so."""
        contents = self.read_snapshot(prefix)
        return self.edit(
            lambda now: replace(contents, alike=joined_alike(contents.alike, now.alike)),
            f"restored {contents.hash[:12]}",
        )

    # Files

    def _change_pictures(
        self,
        values: Mapping[str, V],
        change: Callable[[Picture, V], Picture | None],
        what: str,
    ) -> Contents:
        def apply(contents: Contents) -> Contents:
            if unknown := values.keys() - {picture.sha256 for picture in contents.pictures}:
                raise DatasetUnknown(f"{self.name} has no picture {min(unknown)[:12]}.")
            changed = (
                change(picture, values[picture.sha256]) if picture.sha256 in values else picture
                for picture in contents.pictures
            )
            return replace(contents, pictures=tuple(filter(None, changed)))

        return self.edit(apply, what)

    def _head(self) -> int:
        try:
            return int((self._working / "HEAD").read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise DatasetDamaged(
                f"The dataset {self.name} is damaged ({error}); restore its folder {self.root}."
            ) from error

    def _set_head(self, number: int) -> None:
        write_atomic(self._working / "HEAD", str(number).encode())

    def _write_state(self, number: int, contents: Contents, what: str) -> None:
        """HEAD is written last: until then the state before holds."""
        tree = {**contents.to_json(), "edit": what}
        write_atomic(self._state_path(number), _encode(tree))
        self._set_head(number)
        for path in self._working.glob("*.json"):
            if not number - KEPT_STATES <= int(path.stem) <= number:
                path.unlink(missing_ok=True)

    def _read(self, path: Path) -> Contents:
        return _remembered(*_facts(path))

    def _state_path(self, number: int) -> Path:
        return self._working / f"{number:06d}.json"

    def _snapshot_path(self, whole: str) -> Path:
        return self.root / "snapshots" / f"{whole}.json"


def _facts(path: Path) -> tuple[Path, int, int, int]:
    """What tells whether a file is the same still. Raises DatasetDamaged."""
    try:
        facts = path.stat()
    except OSError as error:
        raise DatasetDamaged(f"{path} cannot be read ({error}); restore a snapshot.") from error
    return path, facts.st_ino, facts.st_mtime_ns, facts.st_size


@lru_cache(maxsize=8)
def _remembered(path: Path, inode: int, changed_ns: int, size: int) -> Contents:
    """A state that was read before and is the same file still: 10,000 pictures take a while."""
    return from_json(_read_tree(path), str(path))


@lru_cache(maxsize=1000)
def _told(path: Path, inode: int, changed_ns: int, size: int) -> tuple[str, str, float, int]:
    """Of a state or snapshot: its edit, its note, when it was made, how many pictures it has."""
    tree = _read_tree(path)
    made_s, pictures = tree.get("made_s"), tree.get("pictures")
    return (
        str(tree.get("edit", "")), str(tree.get("note", "")),
        made_s if isinstance(made_s, float) else 0.0,
        len(pictures) if isinstance(pictures, list) else 0,
    )  # fmt: skip


def _caption_in(tree: Mapping[str, object], sha256: str) -> str:
    """A picture's caption in a state or snapshot; "" where it is not in it or has none."""
    pictures = tree.get("pictures")
    for one in pictures if isinstance(pictures, list) else ():
        if isinstance(one, dict) and one.get("sha256") == sha256:
            return str(one.get("caption", ""))
    return ""


def _read_tree(path: Path) -> dict[str, object]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetDamaged(f"{path} cannot be read ({error}); restore a snapshot.") from error
    return tree if isinstance(tree, dict) else {}


def _encode(tree: Mapping[str, object]) -> bytes:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
