"""What is asked of the playground, and a picture that came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loraloom.generate import order as orders
from loraloom.studio.job import Job, State
from loraloom.studio.rights import Visibility

MOST_AT_ONCE = 16
MOST_ADAPTERS = 6


class Use(BaseModel):
    """An adapter and how strongly it acts."""

    model_config = ConfigDict(extra="forbid")

    adapter: int = Field(ge=1, le=2**31 - 1)
    scale: float = Field(default=1.0, ge=-1, le=2)
    on: bool = True


class Ask(BaseModel):
    """Pictures that are to be drawn; what is None is the base's own."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=2000)
    negative: str = Field(default="", max_length=2000)
    base: str = Field(default="", max_length=500)
    """"": that of the first adapter, else the starter base."""
    adapters: list[Use] = Field(default_factory=list, max_length=MOST_ADAPTERS)
    guidance: float | None = Field(default=None, ge=0, le=50)
    steps: int | None = Field(default=None, ge=1, le=200)
    width_px: int | None = Field(default=None, ge=16, le=4096)
    height_px: int | None = Field(default=None, ge=16, le=4096)
    seed: int | None = Field(default=None, ge=0, lt=2**53)
    """None: a new one."""
    count: int = Field(default=1, ge=1, le=MOST_AT_ONCE)
    compare: bool = False
    """Also without adapters, by the same seeds."""
    complete: bool = False
    """Put triggers that the prompt lacks in front of it."""

    @field_validator("prompt", "negative")
    @classmethod
    def _plain(cls, text: str) -> str:
        return text.replace("\0", "").strip()

    @field_validator("prompt")
    @classmethod
    def _told(cls, text: str) -> str:
        if not text:
            raise ValueError("say what the picture should show")
        return text


@dataclass(frozen=True)
class Picture:
    """One of the playground's, drawn or to be drawn."""

    id: int
    number: int
    """In its job."""
    job: Job
    asked: Mapping[str, Any]
    """prompt, negative, base, seed, guidance, steps, width_px, height_px; adapters: a list of id,
    name and scale."""
    starred: bool
    trashed_at: float | None
    owner_id: int | None
    visibility: Visibility
    project_id: int | None

    @property
    def path(self) -> Path:
        """Its file."""
        return orders.picture_file(self.job.run_folder, self.number)

    @property
    def small_path(self) -> Path:
        """Its small copy."""
        return orders.small_file(self.job.run_folder, self.number)

    @property
    def is_drawn(self) -> bool:
        """Whether it is there."""
        return self.path.is_file()

    @property
    def is_coming(self) -> bool:
        """Whether it still can be."""
        ended = (State.FINISHED, State.FAILED, State.CANCELLED)
        return self.job.state not in ended and not self.is_drawn

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked, and what the base made of the rest."""
        whole = orders.facts(self.job.run_folder).get(str(self.number), {})
        return {**self.asked, **{n: v for n, v in whole.items() if self.asked.get(n) is None}}


def as_picture(row: Any, job: Job) -> Picture:
    """What a row of the table says."""
    asked = json.loads(row.asked)
    return Picture(
        row.id, row.number, job, asked, row.starred, row.trashed_at, row.owner_id,
        Visibility(row.visibility), row.project_id,
    )  # fmt: skip
