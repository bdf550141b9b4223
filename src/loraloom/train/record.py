"""What a run leaves beside its adapter: run.json, config.toml, events.jsonl."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import loraloom
from loraloom.config import TrainConfig
from loraloom.config_tree import to_toml
from loraloom.errors import CheckpointUnusable, OutputExists
from loraloom.files import telling_failures, write_atomic
from loraloom.train.events import Event, Finished, Planned


class RunRecord:
    """The record of one run in its folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._path = out / "run.json"

    def claim(self, *, resume: bool) -> None:
        """Raise OutputExists where the folder is a file, or holds a run and `resume` is off."""
        if self.out.exists() and not self.out.is_dir():
            raise OutputExists(f"{self.out} is a file; name a folder with --out.")
        record = None if resume else self._read()
        if record is not None:
            state = "a finished run" if "finished" in record else "a run that can go on (--resume)"
            raise OutputExists(f"{self.out} holds {state}; name another folder with --out.")

    def finished(self) -> Finished | None:
        """How the run in this folder ended, if it did."""
        ended = (self._read() or {}).get("finished")
        adapter = self.out / "adapter.safetensors"
        return None if ended is None else Finished(**{**ended, "adapter": adapter})

    def begin(self, config: TrainConfig, facts: dict[str, str]) -> None:
        """Note what decides the run's bytes. Raises CheckpointUnusable if it is another run's."""
        identity = {"config": config.shaping(), **facts}
        record = self._read()
        if record is not None:
            different = sorted(_differences(record.get("identity", {}), identity))
            if different:
                raise CheckpointUnusable(
                    f"The run in {self.out} was started with other values of "
                    f"{', '.join(different)}. Give the same ones to resume it, or name another "
                    "folder with --out."
                )
            return
        content = {"loraloom": loraloom.__version__, "identity": identity}
        write_atomic(self.out / "config.toml", to_toml(config).encode())
        self._write(content)

    def finish(self, event: Finished) -> None:
        """Note how it ended."""
        record = self._read() or {}
        ended = {
            "step": event.step,
            "best_step": event.best_step,
            "seconds": event.seconds,
            "peak_mib": event.peak_mib,
        }
        self._write({**record, "finished": ended})

    def plan(self, event: Planned) -> None:
        """Note what was estimated, to stand beside what will have been."""
        expected = {"peak_mib": event.peak_mib, "minutes": event.minutes}
        self._write({**(self._read() or {}), "planned": expected})

    @contextmanager
    def events(self) -> Iterator[EventLog]:
        """The open events.jsonl, to append to."""
        path = self.out / "events.jsonl"
        with telling_failures(path):
            self.out.mkdir(parents=True, exist_ok=True)
            _cut_half_line(path)
            # Unbuffered: what a full disk has refused must not be tried again when it is closed.
            stream = path.open("ab", buffering=0)
        with stream:
            yield EventLog(path, stream)

    def _read(self) -> dict[str, Any] | None:
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointUnusable(f"{self._path} cannot be read: {error}.") from error
        return dict(record)

    def _write(self, record: dict[str, Any]) -> None:
        write_atomic(self._path, json.dumps(record, indent=2, ensure_ascii=False).encode())


class EventLog:
    """Appends events as they happen."""

    def __init__(self, path: Path, stream: FileIO) -> None:
        self._path = path
        self._stream = stream

    def append(self, event: Event) -> None:
        """One line, on its way to the disk at once."""
        rest = f"{event.to_json()}\n".encode()
        with telling_failures(self._path):
            while rest:
                rest = rest[self._stream.write(rest) :]


def _cut_half_line(path: Path) -> None:
    """Take back what a kill left of the last line."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            name = f"{prefix}.{key}" if prefix else key
            yield from _differences(old.get(key), new.get(key), name)
    elif old != new:
        yield prefix.removeprefix("config.")
