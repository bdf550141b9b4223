"""What an adapter in the library is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from loraloom import kinds
from loraloom.kinds import Kind
from loraloom.settings import data_folder
from loraloom.studio.rights import Visibility

SUFFIX = ".safetensors"
FILE = f"adapter{SUFFIX}"
TAGS = (
    "character", "style", "object", "concept", "scene", "anime", "photo", "illustration",
    "portrait", "clothing", "pose", "background", "test",
)  # fmt: skip
"""Words that are offered; people add their own."""
MOST_TAGS = 20


@dataclass(frozen=True)
class Adapter:
    """A row of the library; times are seconds since 1970."""

    id: int
    token: str
    name: str
    description: str
    kind: str
    tags: tuple[str, ...]
    base: str
    """Name or folder of the base that it was trained on; "" where that is not known."""
    family: str
    """Id; "" where it is not known."""
    type: str
    rank: int | None
    trigger: str
    layout: str
    sha256: str
    size_bytes: int
    facts: Mapping[str, str]
    """What the file says of itself."""
    scale: float
    """The recommended strength."""
    job_id: int | None
    """The run that ended with it."""
    kept_job_id: int | None
    """The run that it is a step of, where somebody kept that step."""
    kept_file: str | None
    """The file of that step."""
    parent_id: int | None
    dataset: str
    dataset_hash: str
    owner_id: int | None
    """The person whose it is; None: the owners of the studio."""
    visibility: Visibility
    starred: bool
    alias: str
    cover: str
    created_at: float
    trashed_at: float | None
    project_id: int | None

    @property
    def folder(self) -> Path:
        """Where its file and those made of it lie."""
        return data_folder() / "adapters" / f"{self.id:06d}-{self.token}"

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / FILE

    @property
    def cover_path(self) -> Path | None:
        """The picture that stands for it, where there is one."""
        path = data_folder() / self.cover if self.cover else None
        return path if path and path.is_file() else None

    @property
    def run_id(self) -> int | None:
        """The run that made it."""
        return self.job_id or self.kept_job_id

    @property
    def step(self) -> int | None:
        """After which it was written, where it is known."""
        return step_of(self.facts)

    @property
    def base_title(self) -> str:
        """The base in a word."""
        return Path(self.base).name or self.facts.get("base") or self.family or ""

    @property
    def ideas(self) -> list[str]:
        """Prompts to begin with, where it is told what it shows and how it is called."""
        known = self.trigger and self.kind in {*Kind}
        return kinds.prompts(Kind(self.kind), self.trigger) if known else []


def project_of(used: Iterable[Adapter]) -> int | None:
    """That of the first adapter that is in one."""
    return next((one.project_id for one in used if one.project_id is not None), None)


def clean_tags(given: Iterable[str]) -> list[str]:
    """In lower case, each once."""
    words = (tag.replace("\0", "").strip().lower()[:40] for tag in given)
    return list(dict.fromkeys(filter(None, words)))


def as_adapter(row: Row[Any]) -> Adapter:
    """What a row of the table says."""
    values = {**row._mapping}
    names = Adapter.__dataclass_fields__
    values["tags"] = tuple(json.loads(values["tags"]))
    values["facts"] = json.loads(values["facts"])
    values["visibility"] = Visibility(values["visibility"])
    return Adapter(**{name: value for name, value in values.items() if name in names})


def step_of(facts: Mapping[str, str]) -> int | None:
    """The step that a file says it is of."""
    told = facts.get("step", "")
    return int(told) if told.isdecimal() and len(told) < 10 else None
