"""What a job is, and which changes of its state there are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from loraloom.settings import data_folder
from loraloom.studio.rights import Visibility


class Task(StrEnum):
    """What a job's process does."""

    TRAIN = "train"  # an adapter from a dataset
    GENERATE = "generate"  # pictures for the playground
    GRID = "grid"  # pictures for a comparison
    DESCRIBE = "describe"  # captions for a dataset


class State(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # waits for a worker
    PREPARING = "preparing"  # a worker has it; pictures are read, latents and captions encoded
    TRAINING = "training"  # steps are made; of another task: it works
    PAUSED = "paused"  # waits for its user; goes on from its last checkpoint
    FINISHED = "finished"  # its adapter, or what else it was to make, is there
    FAILED = "failed"  # `reason` and `message` tell why; can be taken up again
    CANCELLED = "cancelled"  # its user gave it up


class Request(StrEnum):
    """What the user wants of a job that a worker has; honoured between steps."""

    NONE = ""
    CANCEL = "cancel"
    PAUSE = "pause"
    STOP = "stop"  # end now and keep the adapter


class Wish(StrEnum):
    """What a run is to do after the step at hand, and to go on."""

    SAMPLE = "sample"  # draw its sample prompts
    SAVE = "save"  # write a checkpoint and its adapter


class Reason(StrEnum):
    """Why a job failed."""

    NONE = ""
    MEMORY = "memory"  # the device's, or the kernel ended the process for it
    NOT_FINITE = "not finite"  # the loss became NaN or infinite
    DISK = "disk"  # no room, or a folder that cannot be written
    DATA = "data"  # pictures, settings or base cannot be used
    BUG = "bug"  # the trainer broke down
    LOST = "lost"  # the trainer or its worker vanished


CHANGES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.PREPARING, State.PAUSED, State.CANCELLED}),
    State.PREPARING: frozenset({State.TRAINING, State.QUEUED, State.PAUSED, State.FINISHED,
                                State.FAILED, State.CANCELLED}),
    State.TRAINING: frozenset({State.QUEUED, State.PAUSED, State.FINISHED, State.FAILED,
                               State.CANCELLED}),
    State.PAUSED: frozenset({State.QUEUED, State.CANCELLED}),
    State.FAILED: frozenset({State.QUEUED}),
    State.FINISHED: frozenset(),
    State.CANCELLED: frozenset(),
}  # fmt: skip
"""Every change that is allowed, and no other is made."""

HELD = frozenset({State.PREPARING, State.TRAINING})
"""States in which a worker has the job."""

ENDED = frozenset({State.FINISHED, State.FAILED, State.CANCELLED})


@dataclass(frozen=True)
class Lease:
    """A worker's right to a job; a later attempt ends it."""

    job_id: int
    attempt: int


@dataclass(frozen=True)
class Job:
    """A row of the queue; times are seconds since 1970."""

    id: int
    name: str
    token: str
    settings: str
    """The complete settings, as TOML: of a run, or what is to be drawn (generate/order.py) or
    described (captions/auto/order.py)."""
    parent_id: int | None
    priority: int
    state: State
    request: Request
    attempt: int
    beat: int
    losses: int
    """Attempts that were lost since one last saved a checkpoint."""
    worker: str
    step: int
    steps: int
    saved_step: int
    reason: Reason
    message: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    owner_id: int | None
    """The person whose job it is; None: the owners of the studio."""
    visibility: Visibility
    task: Task = Task.TRAIN
    project_id: int | None = None
    trashed_at: float | None = None
    """Since when it is in the bin."""

    @property
    def is_gone(self) -> bool:
        """Whether it has left the bin: its files are no longer there."""
        return self.trashed_at == 0

    @property
    def lease(self) -> Lease:
        """The right to its attempt at hand."""
        return Lease(self.id, self.attempt)

    @property
    def folder(self) -> Path:
        """Where its settings, its log and its run lie."""
        return data_folder() / "jobs" / f"{self.id:06d}-{self.token}"

    @property
    def run_folder(self) -> Path:
        """Where its trainer writes: adapter.safetensors, samples, checkpoints."""
        return self.folder / "run"
