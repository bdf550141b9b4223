"""The ZIP format itself: the directory at the end, and the bytes of one entry.

Not `zipfile`, which trusts sizes, cuts names at NUL, fails on names that are not what they claim,
and does not see entries that overlap. Source: PKWARE's APPNOTE.TXT 6.3.10, sections 4.3 and 4.4.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from loraloom.dataset.source import SourceDamage

STORED, DEFLATED = 0, 8
MAX_DIRECTORY_BYTES = 64 * 2**20
CHUNK_BYTES = 256 * 2**10

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LARGEST_COMMENT_BYTES = 0xFFFF


@dataclass(frozen=True)
class Directory:
    """Where the list of entries lies."""

    count: int
    offset: int
    size: int
    prefix: int
    """Bytes that stand before the archive, as in a file that is a picture too."""


@dataclass(frozen=True)
class Record:
    """One entry as the directory describes it; nothing here is to be trusted."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    attributes: int
    offset: int

    @property
    def encrypted(self) -> bool:
        """Whether a password is needed, for the entry or for its directory record."""
        return bool(self.flags & 0x2041)

    @property
    def unix_mode(self) -> int:
        """File type and permissions, 0 where the archive has none."""
        return self.attributes >> 16

    @property
    def name(self) -> str:
        """As UTF-8, else as cp437, which any bytes are."""
        try:
            return self.raw_name.decode("utf-8")
        except UnicodeDecodeError:
            return self.raw_name.decode("cp437")


def find_directory(stream: BinaryIO) -> Directory:
    """Raises SourceDamage (not_a_zip)."""
    size = stream.seek(0, 2)
    start = max(0, size - _END.size - _LARGEST_COMMENT_BYTES)
    stream.seek(start)
    tail = stream.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) - place < _END.size:
        raise SourceDamage("not_a_zip", "its directory, which stands at the end, is missing")
    _, disk, first_disk, _, count, length, offset, _ = _END.unpack_from(tail, place)
    end = start + place
    if 0xFFFF in (disk, count) or 0xFFFFFFFF in (length, offset):
        count, length, offset, end = _find_directory64(stream, end, (count, length, offset))
    elif disk or first_disk:
        raise SourceDamage("not_a_zip", "it is one part of an archive in several files")
    prefix = end - length - offset
    if prefix < 0:
        raise SourceDamage("not_a_zip", "its directory does not fit into the file")
    return Directory(count, offset + prefix, length, prefix)


def read_directory(stream: BinaryIO, directory: Directory) -> Iterator[Record]:
    """Every entry. Raises SourceDamage (not_a_zip) where the directory is broken."""
    if directory.size > MAX_DIRECTORY_BYTES:
        raise SourceDamage("too_many_files", "its directory is larger than 64 MiB")
    stream.seek(directory.offset)
    data = stream.read(directory.size)
    place = 0
    while place + _CENTRAL.size <= len(data):
        fields = _CENTRAL.unpack_from(data, place)
        if fields[0] != b"PK\1\2":
            raise SourceDamage("not_a_zip", "its directory is broken")
        _, _, _, flags, method, _, _, crc, packed, size, names, extras, comments = fields[:13]
        name_at = place + _CENTRAL.size
        extra_at = name_at + names
        place = extra_at + extras + comments
        if place > len(data):
            raise SourceDamage("not_a_zip", "its directory is cut off")
        extra = data[extra_at : extra_at + extras]
        size, packed, offset = _wide_sizes(extra, size, packed, fields[16])
        yield Record(
            raw_name=data[name_at:extra_at],
            flags=flags,
            method=method,
            crc=crc,
            packed=packed,
            size=size,
            attributes=fields[15],
            offset=offset + directory.prefix,
        )
    if place != len(data):
        raise SourceDamage("not_a_zip", "its directory has bytes that belong to no entry")


def find_data(stream: BinaryIO, record: Record) -> int:
    """Where the entry's bytes begin. Raises SourceDamage (zip_broken)."""
    stream.seek(record.offset)
    header = stream.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
        raise SourceDamage("zip_broken", "its header is missing")
    fields = _LOCAL.unpack(header)
    if stream.read(fields[9]) != record.raw_name:
        raise SourceDamage("zip_broken", "it has another name in its header than in the directory")
    return record.offset + _LOCAL.size + int(fields[9]) + int(fields[10])


def read_data(stream: BinaryIO, record: Record, data_at: int) -> Iterator[bytes]:
    """The unpacked bytes in pieces; size and checksum are compared after the last one.

    Raises SourceDamage: zip_size, zip_crc or zip_broken.
    """
    size, crc = 0, 0
    for piece in _unpack(stream, record, data_at):
        size += len(piece)
        crc = zlib.crc32(piece, crc)
        yield piece
    if size != record.size:
        code = "zip_size" if size < record.size else "zip_crc"
        raise SourceDamage(code, f"it declares {record.size:,} bytes and holds {size:,}")
    if crc != record.crc:
        raise SourceDamage("zip_crc", "its checksum does not match")


def _unpack(stream: BinaryIO, record: Record, data_at: int) -> Iterator[bytes]:
    if record.method == STORED:
        yield from _packed(stream, record, data_at)
        return
    inflater = zlib.decompressobj(-15)
    try:
        for packed in _packed(stream, record, data_at):
            while packed and not inflater.eof:
                yield inflater.decompress(packed, CHUNK_BYTES)
                packed = inflater.unconsumed_tail
        while piece := inflater.decompress(b"", CHUNK_BYTES):
            yield piece
    except zlib.error as error:
        raise SourceDamage("zip_crc", "its packed bytes are broken") from error
    if not inflater.eof:
        raise SourceDamage("zip_crc", "its packed bytes are cut off")


def _packed(stream: BinaryIO, record: Record, data_at: int) -> Iterator[bytes]:
    left = record.packed
    while left:
        stream.seek(data_at + record.packed - left)
        piece = stream.read(min(left, CHUNK_BYTES))
        if not piece:
            raise SourceDamage("zip_broken", "its bytes end too early")
        left -= len(piece)
        yield piece


def _find_directory64(
    stream: BinaryIO, end: int, short: tuple[int, int, int]
) -> tuple[int, int, int, int]:
    """Count, length and offset from the 64-bit end record, and where it begins."""
    if end < _END64_LOCATOR.size:
        return (*short, end)
    stream.seek(end - _END64_LOCATOR.size)
    locator = stream.read(_END64_LOCATOR.size)
    begin = end - _END64_LOCATOR.size - _END64.size
    if not locator.startswith(b"PK\6\7") or begin < 0:
        return (*short, end)
    stream.seek(begin)
    record = stream.read(_END64.size)
    if not record.startswith(b"PK\6\6"):
        raise SourceDamage("not_a_zip", "the end of its directory is broken")
    fields = _END64.unpack(record)
    return fields[7], fields[8], fields[9], begin


def _wide_sizes(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The three values, each that is all ones taken from the ZIP64 field in its fixed order."""
    values = [size, packed, offset]
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        body = extra[place + 4 : place + 4 + length]
        place += 4 + length
        if kind != 1:
            continue
        for index, value in enumerate(values):
            if value == 0xFFFFFFFF and len(body) >= 8:
                values[index] = int.from_bytes(body[:8], "little")
                body = body[8:]
    return values[0], values[1], values[2]
