"""Earlier captions, kept beside the folder, so that every change can be taken back."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from loraloom.errors import CaptionsChanged, NothingToUndo
from loraloom.files import telling_failures, write_atomic

_KEPT = 50


def journal_path(root: Path) -> Path:
    """The journal of the captions in `root`: beside the folder, never in it."""
    root = root.resolve()
    return root.parent / f".{root.name}.captions-journal.jsonl"


def write(root: Path, files: Mapping[Path, bytes], what: str) -> int:
    """Write caption files and keep what they were; the number that changed.

    The journal goes first: whatever happens in between, `undo` brings the earlier captions back.
    """
    before = {path: _bytes_of(path) for path in files}
    changed = {path: data for path, data in files.items() if before[path] != data}
    if not changed:
        return 0
    entry = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": what,
        "captions": {
            path.name: [_encoded(before[path]), _encoded(data)] for path, data in changed.items()
        },
    }
    entries = [*_entries(root), json.dumps(entry, ensure_ascii=False)][-_KEPT:]
    write_atomic(journal_path(root), "".join(f"{line}\n" for line in entries).encode())
    for path, data in changed.items():
        write_atomic(path, data, durable=False)
    return len(changed)


def undo(root: Path) -> tuple[str, int]:
    """Bring back the captions before the last change: what it was, and how many files.

    Raises NothingToUndo, or CaptionsChanged where a file was changed by something else since.
    """
    entries = _entries(root)
    if not entries:
        raise NothingToUndo(f"No change of the captions in {root} is kept; there is none to undo")
    entry = json.loads(entries[-1])
    for name, (before, after) in entry["captions"].items():
        if _encoded(_bytes_of(root / name)) not in (before, after):
            raise CaptionsChanged(
                f"{root / name} was changed after '{entry['what']}'; put it back or remove "
                f"{journal_path(root)} to give up undoing"
            )
    for name, (before, _) in entry["captions"].items():
        _restore(root / name, before)
    if entries[:-1]:
        write_atomic(journal_path(root), "".join(f"{line}\n" for line in entries[:-1]).encode())
    else:
        journal_path(root).unlink(missing_ok=True)
    return str(entry["what"]), len(entry["captions"])


def _restore(path: Path, before: str | None) -> None:
    if before is None:
        with telling_failures(path):
            path.unlink(missing_ok=True)
    else:
        write_atomic(path, base64.b64decode(before), durable=False)


def _entries(root: Path) -> list[str]:
    path = journal_path(root)
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
