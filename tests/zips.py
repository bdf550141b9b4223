"""ZIP files written by hand, so that headers can lie; and small pictures."""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

REGULAR, LINK, FIFO = 0o100644 << 16, 0o120777 << 16, 0o010644 << 16


@dataclass
class Entry:
    """One entry; what is None is told truly."""

    name: str | bytes
    data: bytes = b""
    method: int = 8
    flags: int = 0
    attributes: int = REGULAR
    crc: int | None = None
    size: int | None = None
    packed: bytes | None = None
    offset: int | None = None
    local_name: bytes | None = None

    @property
    def raw(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode()

    @property
    def payload(self) -> bytes:
        if self.packed is not None:
            return self.packed
        if self.method != 8:
            return self.data
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflater.compress(self.data) + deflater.flush()


def zip_bytes(*entries: Entry, count: int | None = None) -> bytes:
    """The archive as bytes."""
    out, central = io.BytesIO(), io.BytesIO()
    for entry in entries:
        at = out.tell()
        payload = entry.payload
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        size = len(entry.data) if entry.size is None else entry.size
        shared = (entry.flags, entry.method, 0, 33, crc, len(payload), size)
        name = entry.raw
        if entry.offset is None:
            local = name if entry.local_name is None else entry.local_name
            out.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, *shared, len(local), 0))
            out.write(local + payload)
        where = at if entry.offset is None else entry.offset
        central.write(
            struct.pack("<4s6H3L5H2L", b"PK\1\2", 0x0314, 20, *shared, len(name), 0, 0, 0, 0,
                        entry.attributes, where) + name
        )  # fmt: skip
    number = min(len(entries) if count is None else count, 0xFFFF)
    directory = central.getvalue()
    end = (b"PK\5\6", 0, 0, number, number, len(directory), out.tell(), 0)
    return out.getvalue() + directory + struct.pack("<4s4H2LH", *end)


def write_zip(path: Path, *entries: Entry) -> Path:
    """The archive as a file."""
    path.write_bytes(zip_bytes(*entries))
    return path


def png(colour: int = 0, width_px: int = 24, height_px: int = 20) -> bytes:
    """A picture; other numbers give other bytes."""
    return encoded(Image.new("RGB", (width_px, height_px), (colour % 256, colour // 256, 7)))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def fill_folder(root: Path, files: dict[str, bytes | str]) -> Path:
    """Write files by name; folders are made."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root
