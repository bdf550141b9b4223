"""Adapter files from elsewhere, and copies of adapters in other programs' layouts."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO, Literal

from loraloom.adapters import header
from loraloom.errors import AdapterDamaged, AdapterRefused, AdapterUnknown, AdapterUnreadable
from loraloom.files import sync_file, telling_failures
from loraloom.settings import data_folder
from loraloom.studio.adapter import Adapter
from loraloom.studio.library import Library
from loraloom.studio.registering import of_foreign, put_file, run_child, sha256_of

Format = Literal["original", "kohya", "diffusers", "comfyui", "peft"]
FORMATS: tuple[Format, ...] = ("original", "kohya", "diffusers", "comfyui", "peft")
MOST_BYTES = 8 * 2**30
_CHUNK = 1 << 20


def take_in(library: Library, stream: BinaryIO, name: str) -> Adapter:
    """Keep a file that somebody gave under a name, once it is known what it is.

    Raises AdapterUnreadable, AdapterRefused (it is there already, or too large), DiskFull.
    """
    shown = Path(name.replace("\\", "/").replace("\0", "")).name[:120] or "The file"
    incoming = data_folder() / "adapters" / f".incoming-{secrets.token_hex(8)}"
    with telling_failures(incoming):
        incoming.parent.mkdir(parents=True, exist_ok=True)
        try:
            _receive(stream, incoming, shown)
            return _keep(library, incoming, shown)
        finally:
            incoming.unlink(missing_ok=True)


def _receive(stream: BinaryIO, path: Path, shown: str) -> None:
    count = 0
    with path.open("wb") as out:
        while part := stream.read(_CHUNK):
            count += len(part)
            if count > MOST_BYTES:
                raise AdapterRefused(
                    f"{shown} is larger than {MOST_BYTES >> 30} GiB, which no adapter is."
                )
            out.write(part)
    sync_file(path)


def _keep(library: Library, path: Path, shown: str) -> Adapter:
    try:
        header.read(path)
        facts = of_foreign(path, shown)
    except AdapterUnreadable as error:
        raise type(error)(str(error).replace(str(path), shown)) from None
    same = library.with_hash(facts["sha256"])
    if same is not None:
        raise AdapterRefused(
            f"{shown} is in the library already, as adapter {same.id}, {same.name!r}."
        )
    adapter = library.add(facts)
    put_file(path, adapter.path)
    return adapter


def copy_in(adapter: Adapter, format_: Format) -> Path:
    """The file in a layout, made once; checked against its hash before it is handed out.

    Raises AdapterUnknown, AdapterDamaged, AdapterUnreadable (with why it has no such layout).
    """
    _check(adapter)
    if format_ in ("original", adapter.layout):
        return adapter.path
    ending = "zip" if format_ == "peft" else "safetensors"
    path = adapter.folder / f"{format_}.{ending}"
    if not path.is_file():
        _convert(adapter, format_, path)
    return path


def _check(adapter: Adapter) -> None:
    if not adapter.path.is_file():
        raise AdapterUnknown(f"The file of adapter {adapter.id}, {adapter.name!r}, is gone.")
    if sha256_of(adapter.path) != adapter.sha256:
        raise AdapterDamaged(
            f"The file of adapter {adapter.id}, {adapter.name!r}, is not what was stored: its hash "
            "differs. Import it again, or train it again from its run."
        )


def _convert(adapter: Adapter, format_: Format, path: Path) -> None:
    with telling_failures(path), tempfile.TemporaryDirectory(dir=adapter.folder) as work:
        made = Path(work) / "made"
        words = ["convert", str(adapter.path), "--to", format_, "--out", str(made)]
        if format_ == "peft" and adapter.base:
            words += ["--base", adapter.base]
        run_child(*words, shown=adapter.name, path=adapter.path)
        if format_ == "peft":
            made = _zipped(made, Path(work) / "made.zip")
        made.replace(path)


def _zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return path
