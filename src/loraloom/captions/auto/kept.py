"""Answers kept while a set is being described, so that a second run goes on where one stopped."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from loraloom.captions.auto.answer import Answer, Tag
from loraloom.dataset.lock import locked
from loraloom.files import telling_failures


class Kept:
    """A file of answers by picture; each is on its way to the disk as soon as it is given."""

    def __init__(self, path: Path, answers: dict[str, Answer], stream: TextIO) -> None:
        self._path, self._answers, self._stream = path, answers, stream

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, picture: str) -> Answer | None:
        """The answer kept for a picture, named by what it is."""
        return self._answers.get(picture)

    def add(self, picture: str, answer: Answer) -> None:
        """Keep one more."""
        self._answers[picture] = answer
        with telling_failures(self._path):
            line = json.dumps({"picture": picture, **asdict(answer)}, ensure_ascii=False)
            self._stream.write(line + "\n")
            self._stream.flush()

    def forget(self) -> None:
        """All captions are written: nothing is left to go on from, for no captioner."""
        self._answers.clear()
        begins = self._path.name.rpartition("-")[0]
        for path in self._path.parent.glob(f"{glob.escape(begins)}-*.jsonl"):
            path.unlink(missing_ok=True)


@contextmanager
def keeping(beside: Path, fingerprint: str) -> Iterator[Kept]:
    """The answers of the captioner with this fingerprint, in a file whose name begins as `beside`.

    Raises DatasetBusy where another process is describing the same set.
    """
    captioner = hashlib.sha256(fingerprint.encode()).hexdigest()[:12]
    path = beside.with_name(f"{beside.name}-{captioner}.jsonl")
    lock = beside.with_name(f"{beside.name}.lock")
    answers: dict[str, Answer] = {}
    with locked(lock, "The set", wait_s=1.0):
        try:
            answers |= _read(path)
            with telling_failures(path):
                stream = path.open("a", encoding="utf-8")
            with stream:
                stream.write("\n")  # ends a line that a killed process left half-written
                yield Kept(path, answers, stream)
        finally:
            if not answers:
                path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    for tree in _trees(path) if path.is_file() else ():
        if isinstance(tree.get("picture"), str):
            tags = tuple(Tag(**tag) for tag in tree.get("tags", ()))
            answers[tree["picture"]] = Answer(tags, tree.get("text", ""))
    return answers


def _trees(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            tree = json.loads(line)
        except ValueError:
            continue  # half-written when the process was killed
        if isinstance(tree, dict):
            yield tree
