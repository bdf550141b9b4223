"""What all items of one run share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loraloom.dataset import notes
from loraloom.dataset.prepare.entries import Entry
from loraloom.dataset.prepare.output import Outcome, Output
from loraloom.dataset.prepare.plan import Plan
from loraloom.dataset.prepare.target import Target
from loraloom.dataset.prepare.upscale import Enlarge
from loraloom.errors import ImageUnreadable
from loraloom.findings import Finding

Progress = Callable[[str, int, int], None]
"""Receives a stage, how much is done, and of how much."""
THUMBS = ".thumbs"


@dataclass
class Job:
    """One run."""

    plan: Plan
    target: Target
    output: Output
    digest: str
    """Of what was asked for."""
    folders: dict[str, str]
    """Concept -> its folder; "" is the top."""
    enlarge: Enlarge | None
    progress: Progress
    fps: float = 0.0
    """Of the clips; 0 as long as none is written anew."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """By the number of the entry."""
    problems: list[Finding] = field(default_factory=list)
    """What keeps items from being prepared."""

    def key(self, entry: Entry, stem: str) -> str:
        """What an outcome is found again by. Raises ImageUnreadable where the file is gone."""
        try:
            parts = (self.digest, f"{self.fps}", stem, entry.digest())
        except OSError as error:
            raise ImageUnreadable(f"{entry.name}: cannot be read ({error.strerror})") from error
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def stem(self, entry: Entry) -> str:
        """A free name for an item, with its folder and without ending."""
        return self.output.free_stem(Path(entry.name).stem, self.folders[entry.concept])

    def finished(self, key: str) -> Outcome | None:
        """What an earlier run had done."""
        return self.output.done.get(key)

    def finish(self, number: int, outcome: Outcome) -> None:
        """An item is done and its files are synced."""
        if outcome.key not in self.output.done:
            self.output.finish(outcome)
        self.outcomes[number] = outcome

    def fail(self, entry: Entry, error: ImageUnreadable) -> None:
        """An item cannot be prepared."""
        message = str(error).removeprefix(f"{entry.name}: ")
        self.problems.append(notes.error(error.code, entry.name, message))

    def write_caption(self, stem: str, entry: Entry) -> list[str]:
        """The caption beside the item; returns its name."""
        if not entry.caption:
            return []
        self.output.write(f"{stem}.txt", f"{entry.caption}\n".encode())
        return [f"{stem}.txt"]

    def thumb(self, key: str, number: int = 0) -> str:
        """The name of a small picture for the preview."""
        return f"{THUMBS}/{key[:32]}-{number}.png"
