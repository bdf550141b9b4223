"""What a training run tells whoever runs it: frozen values, one line of JSON each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    def to_json(self) -> str:
        """One line: `{"event": "step", ...}`; paths as text."""
        name = type(self).__name__.lower()
        return json.dumps({"event": name, **dataclasses.asdict(self)}, default=str)


@dataclass(frozen=True)
class Started(Event):
    """Everything is loaded; `first_step` is above 1 after a resume."""

    steps: int
    first_step: int
    items: int
    held_out: int
    prior_images: int
    trainable: int
    """Number of trained weights."""
    precision: str
    device: str
    effective_learning_rate: float
    """Learning rate x alpha / rank: what compares across trainers."""


@dataclass(frozen=True)
class Stage(Event):
    """Progress of the work before the first step, "latents", "captions", "prior" and so on; and of
    "samples" on the way."""

    name: str
    done: int
    total: int


@dataclass(frozen=True)
class Step(Event):
    """One optimiser step; `loss` is the weighted mean over its pictures."""

    step: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Validated(Event):
    """Mean squared error with fixed noise; gap = held-out minus training, None without held-out."""

    step: int
    train_loss: float
    held_out_loss: float | None
    gap: float | None


@dataclass(frozen=True)
class Sampled(Event):
    """Pictures of the fixed prompts, in their order."""

    step: int
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint from which the run can go on."""

    step: int
    path: Path


@dataclass(frozen=True)
class Planned(Event):
    """What the run will take, estimated before anything is loaded."""

    peak_mib: int
    available_mib: int
    """The memory of the device, all of it."""
    minutes: float


@dataclass(frozen=True)
class Diagnosed(Event):
    """A fault that shows at a step, and what to change; the run goes on."""

    step: int
    fault: str
    """A stable name, such as "loss_flat"."""
    message: str


@dataclass(frozen=True)
class Warned(Event):
    """Something that the user should know; the run goes on."""

    message: str


@dataclass(frozen=True)
class Finished(Event):
    """The run is done; `adapter` is the file of the best step."""

    step: int
    best_step: int
    adapter: Path
    seconds: float
    peak_mib: int = 0
    """The most memory that the process held at once since it started or went on."""


@dataclass(frozen=True)
class Failed(Event):
    """The command came to no end; told to programs only, people read the message."""

    error: str
    """The class in errors.py, such as "LossNotFinite"."""
    message: str


def from_tree(tree: Mapping[str, Any]) -> Event | None:
    """The event that a line of `to_json` told; None for one of another kind or version."""
    kinds = {kind.__name__.lower(): kind for kind in Event.__subclasses__()}
    kind = kinds.get(tree["event"])
    if kind is None:
        return None
    values = {name: value for name, value in tree.items() if name != "event"}
    for name in values.keys() & {"path", "adapter"}:
        values[name] = Path(values[name])
    if "paths" in values:
        values["paths"] = tuple(map(Path, values["paths"]))
    try:
        return kind(**values)
    except TypeError:
        return None
