"""Decode pictures, clips and masks in child processes, which have little memory and little time.

A file made to exhaust a decoder ends its child, is named, and the next child goes on. The child
reads one question a line on its standard input and answers with one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Protocol

import psutil

from loraloom.dataset import images, masks, rotation, thumbs
from loraloom.dataset.images import Facts
from loraloom.errors import ImageUnreadable, LoraloomError

CHILD_MEMORY_BYTES = 3 * 2**30
"""Address space for decoding, beside what the libraries have taken (more on more cores)."""
CHILD_SECONDS = 60.0
CLIP_SECONDS = 300.0
MOST_CHILDREN = 8

Content = Literal["picture", "clip", "mask"]


class Check(Protocol):
    """Decodes the file at a path; the name is for messages. Raises ImageUnreadable."""

    def __call__(self, path: Path, name: str, content: Content = "picture") -> Facts: ...


def check_here(path: Path, name: str, content: Content = "picture") -> Facts:
    """Decode in this process."""
    if content == "clip":
        from loraloom.dataset import clips

        return clips.inspect(path, name)
    if content == "mask":
        return masks.inspect(path, name)
    return images.inspect(path.read_bytes(), name)


class Checkers:
    """Children that decode, as many at once as `count`; safe to call from several threads."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count or min(MOST_CHILDREN, os.cpu_count() or 1)
        self._idle: queue.SimpleQueue[_Child | None] = queue.SimpleQueue()
        for _ in range(self.count):
            self._idle.put(None)

    def __enter__(self) -> Checkers:
        return self

    def __exit__(self, *exc: object) -> None:
        for _ in range(self.count):
            child = self._idle.get()
            if child is not None:
                child.end()

    def __call__(self, path: Path, name: str, content: Content = "picture") -> Facts:
        """Decode the file at `path`. Raises ImageUnreadable."""
        return _facts(self._ask([str(path), name, content], name, content))

    def thumb(
        self, path: Path, name: str, target: Path, side_px: int, content: Content = "picture"
    ) -> None:
        """Write a small copy as WebP to `target`. Raises ImageUnreadable."""
        self._ask([str(path), name, content, str(target), "thumb", side_px], name, content)

    def turn(
        self, path: Path, name: str, target: Path, quarters: int, content: rotation.Content
    ) -> None:
        """Write a picture or a mask as rotation.turn_here does. Raises ImageUnreadable."""
        self._ask([str(path), name, content, str(target), "turn", quarters], name, content)

    def _ask(self, question: list[object], name: str, content: Content) -> dict[str, object]:
        child = self._idle.get()
        try:
            child = child if child is not None and child.alive else _Child()
            return child.ask(question, name, content)
        finally:
            self._idle.put(child)


class _Child:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loraloom.dataset.checking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: list[object], name: str, content: Content) -> dict[str, object]:
        assert self._process.stdin is not None and self._process.stdout is not None
        seconds = CLIP_SECONDS if content == "clip" else CHILD_SECONDS
        watch = threading.Timer(seconds, self._process.kill)
        watch.start()
        try:
            self._process.stdin.write(f"{json.dumps(question)}\n".encode())
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:
            answer = b""
        finally:
            watch.cancel()
        if not answer.endswith(b"\n"):
            self.end()
            raise ImageUnreadable(
                f"{name}: could not be decoded within {seconds:.0f} s and "
                f"{CHILD_MEMORY_BYTES >> 30} GiB of memory"
            )
        told: dict[str, object] = json.loads(answer)
        if "error" in told:
            raise ImageUnreadable(str(told["error"]), str(told["code"]))
        return told

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _facts(answer: dict[str, object]) -> Facts:
    notes = answer["notes"]
    assert isinstance(notes, list)
    return Facts(
        int(str(answer["width_px"])),
        int(str(answer["height_px"])),
        str(answer["kind"]),
        tuple((str(code), str(sentence)) for code, sentence in notes),
        int(str(answer["frames"])),
        float(str(answer["fps"])),
        float(str(answer["duration_s"])),
    )


def _answer(line: str) -> dict[str, object]:
    path, name, content, *to = json.loads(line)
    try:
        match to:
            case [target, "thumb", side_px]:
                return {"size": thumbs.make(Path(path), name, content, Path(target), side_px)}
            case [target, "turn", quarters]:
                rotation.turn_here(Path(path), name, Path(target), quarters, content)
                return {}
        return asdict(check_here(Path(path), name, content))
    except ImageUnreadable as error:
        return {"error": str(error), "code": error.code}
    except LoraloomError as error:
        return {"error": str(error), "code": "unwritable"}


def _serve() -> None:
    if sys.platform != "win32":
        import resource

        limit = psutil.Process().memory_info().vms + CHILD_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        print(json.dumps(_answer(line)), flush=True)


if __name__ == "__main__":
    _serve()
