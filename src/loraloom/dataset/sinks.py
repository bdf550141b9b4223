"""Where an export goes: a folder or a ZIP, there whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from loraloom.files import sync_folder, telling_failures


class Sink(Protocol):
    """Where an export goes."""

    def text(self, name: str, content: str) -> None:
        """A small file."""

    def data(self, name: str, content: bytes) -> None:
        """A picture that was made for the export."""

    def copy(self, name: str, source: Path) -> None:
        """A file byte for byte."""


class _FolderSink:
    def __init__(self, root: Path) -> None:
        self._root = root

    def text(self, name: str, content: str) -> None:
        self._place(name).write_text(content, encoding="utf-8", newline="\n")

    def data(self, name: str, content: bytes) -> None:
        self._place(name).write_bytes(content)

    def copy(self, name: str, source: Path) -> None:
        shutil.copyfile(source, self._place(name))

    def _place(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class _ZipSink:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def text(self, name: str, content: str) -> None:
        self._archive.writestr(_entry(name), content, zipfile.ZIP_DEFLATED)

    def data(self, name: str, content: bytes) -> None:
        self._archive.writestr(_entry(name), content, zipfile.ZIP_STORED)

    def copy(self, name: str, source: Path) -> None:
        with source.open("rb") as stream, self._archive.open(_entry(name), "w") as out:
            shutil.copyfileobj(stream, out)


def _entry(name: str) -> zipfile.ZipInfo:
    """Without the time, so that the same dataset gives the same bytes."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o100644 << 16
    return entry


@contextmanager
def folder_at(target: Path) -> Iterator[Sink]:
    """A folder that is there whole or not at all."""
    with telling_failures(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            beside.chmod(0o755)
            yield _FolderSink(beside)
            beside.rename(target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def zip_at(target: Path) -> Iterator[Sink]:
    """A ZIP that is there whole or not at all."""
    with telling_failures(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.tmp")
        try:
            with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
                yield _ZipSink(archive)
            beside.replace(target)
            sync_folder(target.parent)
        finally:
            beside.unlink(missing_ok=True)
