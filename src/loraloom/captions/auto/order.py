"""What a job describes: the studio writes it, and `loraloom caption auto --order` does it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field

from loraloom.captions.auto.prompts import Language, PromptName
from loraloom.config import Section
from loraloom.config_tree import as_model, read_toml, toml_line
from loraloom.kinds import Kind

Text = Field(default="", max_length=500)


class Wish(Section):
    """How the pictures of a dataset are described; what is left out is as is usual for the base."""

    kind: Kind = Kind.CHARACTER
    base: str = Text
    """Its caption style; as answered where there is none."""
    tagger: str = Text
    provider: str = Text
    """The address of a vision model, OpenAI-compatible."""
    model: str = Text
    """At that address."""
    key_env: str = Text
    """The environment variable with the address's key, where the worker runs."""
    prompt: PromptName | None = None
    language: Language = "en"
    concept: str = Text
    """A concept's own words, such as "double exposure"."""
    hairstyles: Literal["auto", "one", "several"] = "auto"
    threshold: float | None = Field(default=None, gt=0, lt=1)
    """How sure a tag must be."""
    per_minute: float = Field(default=0.0, ge=0, le=100_000)
    """Requests at most; 0 is no limit."""
    replace: bool = False
    """Captions that are there too."""
    pictures: tuple[str, ...] = Field(default=(), max_length=100_000)
    """By SHA-256; none: all of the dataset."""


class DescribeOrder(Wish):
    """The same for one stored dataset."""

    dataset: str = Field(min_length=1, max_length=100)


def read(path: Path) -> DescribeOrder:
    """Raises ConfigInvalid."""
    return as_model(DescribeOrder, read_toml(path), "The order cannot be described")


def parse(text: str) -> DescribeOrder:
    """What `to_toml` gave. Raises ConfigInvalid."""
    return as_model(DescribeOrder, tomllib.loads(text), "The order cannot be described")


def to_toml(order: DescribeOrder) -> str:
    """What `read` reads."""
    tree = order.model_dump(mode="json", exclude_none=True)
    return "".join(f"{toml_line(*item)}\n" for item in tree.items())
