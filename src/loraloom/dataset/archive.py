"""A ZIP as a source: nothing in it is trusted, nothing is unpacked by name."""

from __future__ import annotations

import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from loraloom.dataset import notes, zip_format
from loraloom.dataset.source import Listing, SourceDamage, SourceFile, shown_name, too_many
from loraloom.dataset.zip_format import Record
from loraloom.errors import FolderMissing
from loraloom.findings import Finding
from loraloom.settings import IntakeLimits

OTHER_KINDS = {
    b"Rar!\x1a\x07": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\x1f\x8b": "a gzip or tar.gz archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"BZh": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
}
METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "zstd", 95: "xz", 99: "AES"}
REPARSE_POINT = 0x400  # what Windows calls a link
DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass
class _Budget:
    """How much of an archive has been unpacked."""

    limits: IntakeLimits
    total: int = 0

    def spend(self, size: int, entry: int, packed: int) -> None:
        """Note `size` more bytes of an entry that has `entry` by now. Raises SourceDamage."""
        self.total += size
        limits = self.limits
        if entry > limits.ratio_from_bytes and entry > limits.ratio * packed:
            raise SourceDamage("zip_too_big", f"it unpacks to {limits.ratio} times itself or more")
        if entry > limits.file_bytes:
            raise SourceDamage("zip_too_big", f"it has more than {limits.file_bytes >> 20} MiB")
        if self.total > limits.total_bytes:
            raise SourceDamage(
                "zip_too_big", f"the archive unpacks to more than {limits.total_bytes >> 30} GiB"
            )


@dataclass
class _Survey:
    """What the directory of an archive holds."""

    name: str
    limits: IntakeLimits
    records: list[tuple[Record, str]] = field(default_factory=list)
    """Files with their shown names; folders are left out."""
    findings: list[Finding] = field(default_factory=list)

    def blame(self, code: str, item: str, message: str, fix: str = "") -> None:
        """One problem more."""
        self.findings.append(notes.error(code, item, message, fix))


SUFFIXES = frozenset((".zip", ".cbz", ".rar", ".7z", ".tar", ".gz", ".tgz"))
"""Of files that are taken for archives, readable or not."""


def list_archive(path: Path, limits: IntakeLimits, name: str = "") -> Listing:
    """The files of a ZIP, called `name` in messages, or what is wrong with it: all at once.

    Raises FolderMissing.
    """
    survey = _Survey(name or path.name, limits)
    listing = Listing(findings=survey.findings)
    try:
        with path.open("rb") as stream:
            places = _survey(stream, survey)
    except OSError as error:
        raise FolderMissing(f"{path} cannot be read ({error.strerror})") from error
    except SourceDamage as damage:
        _blame_archive(survey, path, damage)
        return listing
    budget = _Budget(limits)
    for record, name in survey.records:
        if record.offset in places:
            listing.add(_file(path, record, places[record.offset], name, budget))
    listing.check_clashes()
    return listing


def looks_like_archive(path: Path, name: str = "") -> bool:
    """Whether a file, called `name` where that is another, is meant to be an archive.

    By its name or its first bytes.
    """
    if PurePosixPath(name or path.name).suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) in (b"PK\3\4", b"PK\5\6")
    except OSError:
        return False


def _survey(stream: BinaryIO, survey: _Survey) -> dict[int, int]:
    """Header -> start of the data, for every entry that can be read."""
    directory = zip_format.find_directory(stream)
    if directory.count > survey.limits.files:
        survey.findings.append(too_many(survey.name, directory.count, survey.limits))
        return {}
    records: list[Record] = []
    for record in zip_format.read_directory(stream, directory):
        records.append(record)
        if len(records) > survey.limits.files:
            survey.findings.append(too_many(survey.name, len(records), survey.limits))
            return {}
    if not records:
        survey.blame("empty_dataset", survey.name, "is an empty ZIP", "put pictures into it")
    readable = [record for record in records if _check_record(record, survey)]
    return _check_spans(stream, readable, directory.offset, survey)


def _check_record(record: Record, survey: _Survey) -> bool:
    """Whether the entry may be read, by what the directory says of it."""
    name = record.name.replace("\\", "/")
    shown = shown_name(name)
    if name.startswith("/") or DRIVE.match(name) or ".." in name.split("/"):
        survey.blame("zip_path", shown, "leads out of the archive", "pack the folder anew")
        return False
    kind = stat.S_IFMT(record.unix_mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or record.attributes & REPARSE_POINT:
        survey.blame(
            "zip_link", shown, "is a link or a device, not a file", "pack the file it stands for"
        )
        return False
    if name.endswith("/") or kind == stat.S_IFDIR:
        return False
    if record.encrypted:
        survey.blame("zip_encrypted", shown, "is encrypted", "remove the password and pack anew")
        return False
    if record.method not in (zip_format.STORED, zip_format.DEFLATED):
        method = METHODS.get(record.method, f"number {record.method}")
        survey.blame(
            "zip_method", shown, f"is packed with the method {method}", "pack with plain Deflate"
        )
        return False
    if shown != unicodedata.normalize("NFC", name):
        survey.findings.append(
            notes.warning("odd_name", shown, "its name has characters that do not show")
        )
    survey.records.append((record, shown))
    return True


def _check_spans(
    stream: BinaryIO, records: list[Record], end: int, survey: _Survey
) -> dict[int, int]:
    """Header -> start of the data; no byte of the file may belong to two entries."""
    places: dict[int, int] = {}
    taken, before = 0, ""
    names = {id(record): name for record, name in survey.records}
    for record in sorted(records, key=lambda record: record.offset):
        name = names[id(record)]
        if record.offset < taken:
            _blame_overlap(survey, name, before)
            return {}
        try:
            data_at = zip_format.find_data(stream, record)
        except SourceDamage as damage:
            survey.blame(damage.code, name, str(damage), "pack the folder anew")
            continue
        taken, before = data_at + record.packed, name
        if taken > end:
            _blame_overlap(survey, name, "the directory")
            return {}
        places[record.offset] = data_at
    return places


def _blame_overlap(survey: _Survey, name: str, other: str) -> None:
    survey.blame("zip_overlap", name, f"shares bytes with {other}", "pack the folder anew")


def _file(path: Path, record: Record, data_at: int, name: str, budget: _Budget) -> SourceFile:
    def pieces() -> Iterator[bytes]:
        size = 0
        try:
            with path.open("rb") as stream:
                for piece in zip_format.read_data(stream, record, data_at):
                    size += len(piece)
                    budget.spend(len(piece), size, record.packed)
                    yield piece
        except OSError as error:
            raise SourceDamage("unreadable", f"it cannot be read ({error.strerror})") from error

    return SourceFile(name, pieces)


def _blame_archive(survey: _Survey, path: Path, damage: SourceDamage) -> None:
    """Say what the file is instead of a ZIP, where that can be seen."""
    if damage.code != "not_a_zip":
        survey.blame(damage.code, survey.name, str(damage), "split it")
        return
    with path.open("rb") as stream:
        start = stream.read(512)
    kind = next((kind for magic, kind in OTHER_KINDS.items() if start.startswith(magic)), None)
    if start[257:262] == b"ustar":
        kind = "a tar archive"
    if kind:
        reason, fix = f"is {kind}, not a ZIP", "pack it as ZIP"
    elif not start:
        reason, fix = "is empty", "pack or upload it again"
    elif start.startswith(b"PK\3\4"):
        reason, fix = f"is a broken or cut off ZIP: {damage}", "pack or upload it again"
    else:
        reason, fix = "is not a ZIP", "pack the pictures as ZIP"
    survey.blame("not_a_zip", survey.name, reason, fix)
