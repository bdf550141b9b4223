"""What a job draws: a base, adapters, and pictures that each say how strongly these act.

Nothing here needs torch: the studio writes orders, and `loraloom generate --order` draws them.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field

from loraloom.config import Section
from loraloom.config_tree import as_model, read_toml, toml_line

MOST_PICTURES = 2000
SMALL_PX = 320
"""The longer side of the small copies that pages show."""
SHEET = "sheet.png"


class Wanted(Section):
    """One picture. Guidance, steps, width and height default to the base's own."""

    prompt: str = Field(min_length=1, max_length=4000)
    seed: int = Field(ge=0, lt=2**63)
    negative: str = Field(default="", max_length=4000)
    guidance: float | None = Field(default=None, ge=0, le=100)
    steps: int | None = Field(default=None, ge=1, le=1000)
    width_px: int | None = Field(default=None, ge=16, le=8192)
    height_px: int | None = Field(default=None, ge=16, le=8192)
    clip_skip: int = Field(default=0, ge=0, le=10)
    scales: tuple[float, ...] = ()
    """One for each adapter of the order; 0 is off."""


class Grid(Section):
    """How the pictures stand in a comparison: row by row."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]


class Order(Section):
    """All that one job draws."""

    base: str
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    adapters: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()
    """What people call the adapters; by their files where there are none."""
    pictures: tuple[Wanted, ...] = Field(min_length=1, max_length=MOST_PICTURES)
    grid: Grid | None = None


def read(path: Path) -> Order:
    """Raises ConfigInvalid."""
    return as_model(Order, read_toml(path), "The order cannot be drawn")


def parse(text: str) -> Order:
    """What `to_toml` gave. Raises ConfigInvalid."""
    return as_model(Order, tomllib.loads(text), "The order cannot be drawn")


def to_toml(order: Order) -> str:
    """What `read` reads."""
    tree = order.model_dump(mode="json", exclude_none=True)
    pictures, grid = tree.pop("pictures"), tree.pop("grid", None)
    lines = [toml_line(*item) for item in tree.items()]
    if grid:
        lines += ["", "[grid]", *(toml_line(*item) for item in grid.items())]
    for picture in pictures:
        lines += ["", "[[pictures]]", *(toml_line(*item) for item in picture.items())]
    return "\n".join(lines) + "\n"


def picture_file(run: Path, number: int) -> Path:
    """Where a picture of an order is put."""
    return run / f"picture-{number:04d}.png"


def small_file(run: Path, number: int) -> Path:
    """Where its small copy is put."""
    return run / "small" / f"picture-{number:04d}.webp"


def facts_file(run: Path) -> Path:
    """What the base filled in: JSON, the number of a picture -> its complete settings."""
    return run / "pictures.json"


def facts(run: Path) -> dict[str, dict[str, object]]:
    """What stands in it; {} before the first picture."""
    try:
        found = json.loads(facts_file(run).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
