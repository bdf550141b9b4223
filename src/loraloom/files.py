"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loraloom.errors import DiskFull, OutputUnwritable

if TYPE_CHECKING:
    from PIL import Image


def kind_at(path: Path) -> Literal["folder", "file", ""]:
    """What is there, links followed; "" where nothing is, or it cannot be looked at."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    return "folder" if stat.S_ISDIR(mode) else "file"


def expanded(text: str | Path) -> Path:
    """With the home folder for "~", and as it is where there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


@contextmanager
def telling_failures(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into DiskFull or OutputUnwritable that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"The disk is full: {path} could not be written. Free some space, then go on; a "
                "run goes on with --resume."
            ) from error
        if error.errno == errno.EFBIG:
            raise OutputUnwritable(
                f"{path} could not be written: it is larger than this disk or account allows for "
                "one file. Choose a folder on another disk, or raise the limit (ulimit -f)."
            ) from error
        raise OutputUnwritable(
            f"{path} could not be written ({error.strerror}). Choose a folder that you may write."
        ) from error


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write beside, sync, rename, sync the folder; `durable=False` leaves the syncs out."""
    beside = path.with_name(f".{path.name}.tmp")
    with telling_failures(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_synced(beside, content, durable=durable)
            beside.replace(path)
            if durable:
                sync_folder(path.parent)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def write_png(
    path: Path, image: Image.Image, *, durable: bool = False, texts: Mapping[str, str] | None = None
) -> None:
    """A picture, as `write_atomic`; `texts` are what it tells of itself."""
    from PIL.PngImagePlugin import PngInfo

    told, buffer = PngInfo(), io.BytesIO()
    for name, text in (texts or {}).items():
        told.add_itxt(name, text)
    image.save(buffer, "PNG", pnginfo=told)
    write_atomic(path, buffer.getvalue(), durable=durable)


def write_synced(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write and flush to the disk, under the final name."""
    with path.open("wb") as stream:
        stream.write(content)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


def sync_file(path: Path) -> None:
    """Bring a file that something else has written to the disk."""
    with telling_failures(path), path.open("r+b") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
