"""Training: from settings and a folder of pictures to an adapter file, as a stream of events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loraloom.train.events import Event

if TYPE_CHECKING:
    from loraloom.config import TrainConfig
    from loraloom.train.stop import StopRequest

__all__ = ["Event", "run"]


def run(
    config: TrainConfig, out: Path, *, resume: bool = False, stop: StopRequest | None = None
) -> Iterator[Event]:
    """Train into the folder `out`; see train/loop.py."""
    from loraloom.train.loop import run as run_loop

    return run_loop(config, out, resume=resume, stop=stop)
