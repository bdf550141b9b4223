"""The folder that is written: built beside, item by item, then renamed; a killed run goes on.

.OUT.part/                what is done so far
.OUT.part/.journal.jsonl  one line an item, written when its files are there and synced
.OUT.replaced/            what stood in OUT before, between two renames
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loraloom.dataset.lock import locked
from loraloom.dataset.snapshot import folder_name
from loraloom.dataset.source import name_key
from loraloom.errors import OutputExists
from loraloom.files import sync_file, sync_folder, telling_failures, write_atomic, write_synced
from loraloom.findings import Finding, Severity

RECORD = "prepared.json"
"""Says what was done; only a folder that has it is ever replaced."""
JOURNAL = ".journal.jsonl"
LOCK = ".lock"
LONGEST_STEM_BYTES = 80


@dataclass(frozen=True)
class Written:
    """One picture, clip or sequence of frames in the new folder."""

    file: str
    """From the top of the folder; of a sequence its folder."""
    width_px: int
    height_px: int
    mask: str = ""
    frames: int = 0
    changed: bool = True
    """False: the source's file byte for byte."""
    bucket: str = ""
    frame: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom of the bucket's part, as shares of the small picture's sides."""
    thumb: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one entry of the source."""

    name: str
    key: str
    """SHA-256 of the entry and of what was asked for."""
    written: tuple[Written, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass
class Output:
    """The folder while it is built; under its lock."""

    part: Path
    done: dict[str, Outcome] = field(default_factory=dict)
    """What an earlier run had finished, by key."""
    _taken: set[str] = field(default_factory=set)

    def free_stem(self, wanted: str, folder: str) -> str:
        """A name without ending near to `wanted`, unlike all others in the folder."""
        own = folder_name(wanted, LONGEST_STEM_BYTES) or "item"
        number, stem = 1, f"{folder}/{own}".lstrip("/")
        while name_key(stem) in self._taken:
            number += 1
            stem = f"{folder}/{own}-{number}".lstrip("/")
        self._taken.add(name_key(stem))
        return stem

    def reserve(self, name: str) -> None:
        """A name that an earlier run gave."""
        self._taken.add(name_key(name.removesuffix(".mp4")))

    def place(self, name: str) -> Path:
        """Where a file of that name is built; its folder is there."""
        path = self.part / name
        with telling_failures(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, data: bytes) -> None:
        """A file, synced."""
        path = self.place(name)
        with telling_failures(path):
            write_synced(path, data)

    def sync(self, name: str) -> None:
        """Bring a file that was written otherwise to the disk."""
        sync_file(self.part / name)

    def finish(self, outcome: Outcome) -> None:
        """Note that an item is done: the next run need not do it again."""
        line = json.dumps(asdict(outcome), ensure_ascii=False) + "\n"
        path = self.part / JOURNAL
        with telling_failures(path), path.open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())


def check_target(out: Path, source: Path, *, replace: bool) -> None:
    """Raise OutputExists where `out` holds what must not be lost, or is the source."""
    here, there = out.resolve(), source.resolve()
    if here == there or here.is_relative_to(there) or there.is_relative_to(here):
        raise OutputExists(
            f"{out} and the source {source} lie in each other; name a folder elsewhere: the source "
            "is never changed."
        )
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RECORD).is_file():
        raise OutputExists(
            f"{out} holds files that `prepare` did not write; name another folder or empty it."
        )
    if not replace:
        raise OutputExists(f"{out} is prepared already; --replace writes it anew.")


@contextmanager
def building(out: Path, source: Path, *, replace: bool) -> Iterator[Output]:
    """The folder to fill; it gets its name in the end, and stays beside when the body fails.

    Raises OutputExists, DatasetBusy.
    """
    out = out.absolute()
    part, replaced = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.replaced")
    with telling_failures(out):
        part.mkdir(parents=True, exist_ok=True)
    with locked(part / LOCK, f"The folder {out}", wait_s=0):
        if replaced.is_dir() and not out.exists():
            replaced.rename(out)  # a run was killed between its two renames
        check_target(out, source, replace=replace)
        output = Output(part, _read_journal(part))
        try:
            yield output
        finally:
            if not (part / JOURNAL).exists():
                shutil.rmtree(part)  # nothing is done yet that a next run could go on from
        for leaving in (JOURNAL, LOCK, ".thumbs"):
            _remove(part / leaving)
        with telling_failures(out):
            sync_folder(part)
            if out.exists():
                _remove(replaced)
                out.rename(replaced)
            part.rename(out)
            sync_folder(out.parent)
            _remove(replaced)


def write_record(output: Output, record: dict[str, object]) -> None:
    """What was done, for people and programs; the folder is complete with it."""
    text = json.dumps(record, ensure_ascii=False, indent=1, default=str)
    write_atomic(output.part / RECORD, text.encode())


def sweep(output: Output, keep: set[str]) -> None:
    """Remove what an earlier run, asked otherwise, left in the folder."""
    for path in sorted(output.part.rglob("*"), reverse=True):
        name = path.relative_to(output.part).as_posix()
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in keep and not any(name.startswith(f"{whole}/") for whole in keep):
            path.unlink()


def _read_journal(part: Path) -> dict[str, Outcome]:
    """Finished items whose files are there; a line that was cut off does not count."""
    path, done = part / JOURNAL, {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            tree = json.loads(line)
            outcome = Outcome(
                tree["name"],
                tree["key"],
                tuple(Written(**w | {"frame": w["frame"] and tuple(w["frame"])})
                      for w in tree["written"]),
                tuple(Finding(**f | {"severity": Severity(f["severity"])})
                      for f in tree["findings"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError):
            continue
        if all((part / written.file).exists() for written in outcome.written):
            done[outcome.key] = outcome
    return done


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
