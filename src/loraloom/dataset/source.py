"""What an import reads from: a list of named files, wherever they lie."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from loraloom.dataset import notes
from loraloom.errors import FolderMissing
from loraloom.findings import Finding
from loraloom.settings import IntakeLimits

CHUNK_BYTES = 256 * 2**10
JUNK_NAMES = frozenset(("thumbs.db", "desktop.ini"))
TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Invisible characters that make a name look like another one."""


class SourceDamage(Exception):
    """A file of the source cannot be had as it was announced; `code` names why."""

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        super().__init__(reason)


@dataclass(frozen=True)
class SourceFile:
    """One file: its name from the top of the source, with "/", fit to be shown."""

    name: str
    pieces: Callable[[], Iterator[bytes]]
    """Its bytes in pieces, read anew at every call. Raises SourceDamage."""
    at: Path | None = None
    """Where it lies; None: in an archive."""

    @property
    def path(self) -> PurePosixPath:
        """The name in its parts; never a place on the disk."""
        return PurePosixPath(self.name)

    @property
    def suffix(self) -> str:
        """The end of the name, in lower case, with the dot."""
        return self.path.suffix.lower()

    def read(self, most_bytes: int) -> bytes:
        """All of it. Raises SourceDamage where it is longer than `most_bytes`."""
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) > most_bytes:
                raise SourceDamage("file_too_big", f"it has more than {most_bytes:,} bytes")
        return bytes(data)


@dataclass
class Listing:
    """The files of a source, and what was found on the way."""

    files: list[SourceFile] = field(default_factory=list)
    junk: int = 0
    """Files that systems leave behind, such as .DS_Store: not read."""
    findings: list[Finding] = field(default_factory=list)

    def add(self, file: SourceFile) -> None:
        """One more file, or one more of the junk."""
        if is_junk(file.name):
            self.junk += 1
        else:
            self.files.append(file)

    def check_clashes(self) -> None:
        """Find names that some system holds to be the same: all pairs."""
        first: dict[str, SourceFile] = {}
        for file in self.files:
            other = first.setdefault(name_key(file.name), file)
            if other is not file:
                self.findings.append(
                    notes.error(
                        "name_clash",
                        file.name,
                        f"has the same name as {other.name} where capitals and accents do not count"
                        if other.name != file.name
                        else "stands twice in it",
                        "rename one of them",
                    )
                )


def name_key(name: str) -> str:
    """What is the same for names that some file system holds to be one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def shown_name(name: str) -> str:
    """`name` in NFC, with a sign in place of what would not show or would mislead."""
    return "".join(
        "\ufffd" if char in TURNING or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        else char
        for char in unicodedata.normalize("NFC", name)
    )  # fmt: skip


def is_junk(name: str) -> bool:
    """Whether a system put it there, or it is hidden."""
    parts = name.split("/")
    return (
        "__MACOSX" in parts
        or any(part.startswith(".") for part in parts)
        or parts[-1].casefold() in JUNK_NAMES
    )


def list_folder(root: Path, limits: IntakeLimits) -> Listing:
    """Every file under `root`; links to folders are not followed. Raises FolderMissing."""
    listing = Listing()
    for folder, subfolders, names in os.walk(root, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not is_junk(name))
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file():
                _add_path(listing, path, path.relative_to(root).as_posix())
        if len(listing.files) > limits.files:
            listing.findings.append(too_many(root.name, len(listing.files), limits))
            break
    listing.check_clashes()
    return listing


def list_files(paths: Iterable[Path]) -> Listing:
    """The files named, each under its own name."""
    listing = Listing()
    for path in paths:
        _add_path(listing, path, path.name)
    listing.check_clashes()
    return listing


def list_named(files: Iterable[tuple[str, Path]], limits: IntakeLimits) -> Listing:
    """Files that lie under other names than they are called, which may have folders in them.

    A folder that all of them share is left out: it is what was given, not a part of it.
    """
    named = [(_parts(name), path) for name, path in files]
    shared = {parts[0] for parts, _ in named}
    if len(shared) == 1 and all(len(parts) > 1 for parts, _ in named):
        named = [(parts[1:], path) for parts, path in named]
    listing = Listing()
    for parts, path in named:
        _add_path(listing, path, "/".join(parts))
    if len(listing.files) > limits.files:
        listing.findings.append(too_many("upload", len(listing.files), limits))
    listing.check_clashes()
    return listing


def _parts(name: str) -> list[str]:
    """The folders and the file that a name tells of; never a place on the disk."""
    parts = [part for part in name.replace("\\", "/").split("/") if part.strip(" .")]
    return parts or ["unnamed"]


def too_many(name: str, count: int, limits: IntakeLimits) -> Finding:
    """More files than the setting allows."""
    return notes.error(
        "too_many_files",
        name,
        f"holds {count:,} files or more; the limit is {limits.files:,}",
        "split it, or set LORALOOM_MAX_FILES",
    )


def _add_path(listing: Listing, path: Path, name: str) -> None:
    listing.add(SourceFile(shown_name(name), lambda: read_path(path), path))


def read_path(path: Path) -> Iterator[bytes]:
    """The bytes of a file in pieces. Raises SourceDamage."""
    try:
        with path.open("rb") as stream:
            while piece := stream.read(CHUNK_BYTES):
                yield piece
    except OSError as error:
        raise SourceDamage("unreadable", f"it cannot be read ({error.strerror})") from error


def _refuse(error: OSError) -> None:
    raise FolderMissing(f"The folder {error.filename} cannot be read ({error.strerror})")
