"""The header of a safetensors file, read without torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from loraloom.errors import AdapterUnreadable

_MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit


def read(path: Path) -> dict[str, object]:
    """All that stands before the tensors; raises AdapterUnreadable with the reason."""
    if not path.is_file():
        raise AdapterUnreadable(f"{path} is not a file. Give the path of a .safetensors file.")
    with path.open("rb") as file:
        start = file.read(8)
        size, whole = int.from_bytes(start, "little"), path.stat().st_size
        if len(start) < 8 or size > min(_MAX_HEADER_BYTES, whole - 8):
            # Not before: the sizes of some headers begin as a pickle does.
            if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                raise AdapterUnreadable(
                    f"{path} is a pickle (.pt, .ckpt, .bin), which can run code when opened, so "
                    "it is not read. Convert it to safetensors first."
                )
            told = f"it has {whole:,} bytes and begins with {start!r}" if whole else "it is empty"
            raise AdapterUnreadable(
                f"{path} is not a safetensors file, or was cut short: {told}. Give a .safetensors "
                "file; if this was one, download or copy it again."
            )
        text = file.read(size)
    return _parse_header(path, text)


def _parse_header(path: Path, text: bytes) -> dict[str, object]:
    try:
        pairs = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as e:
        raise AdapterUnreadable(f"{path} has a broken safetensors header: {e}.") from e
    if not isinstance(pairs, dict):
        raise AdapterUnreadable(f"{path} has a broken safetensors header: not a table of tensors.")
    return pairs


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    twice = [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]
    if twice:
        raise ValueError(f"the key {twice[0]!r} stands in it twice")
    return dict(pairs)


def metadata(path: Path, header: Mapping[str, object]) -> dict[str, str]:
    """The texts in a header; raises AdapterUnreadable."""
    found = header.get("__metadata__", {})
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise AdapterUnreadable(f"{path} has broken metadata: it must map text to text.")
    return found
