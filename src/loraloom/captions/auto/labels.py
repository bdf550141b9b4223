"""The tags that a WD14-type tagger knows: selected_tags.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loraloom.captions.auto import booru, defaults
from loraloom.errors import TaggerUnusable

Use = Literal["general", "names", "left out"]


@dataclass(frozen=True)
class Label:
    """One answer of the network: its name in words, and what it is for."""

    name: str
    use: Use


def read_labels(path: Path) -> tuple[Label, ...]:
    """The labels in the order of the network's answer.

    The file has the columns tag_id, name, category and count (the last is not needed); category 0
    are tags, 4 characters, 9 ratings, as Danbooru counts them. Raises TaggerUnusable.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, strict=True)
            if not {"name", "category"} <= set(rows.fieldnames or ()):
                raise TaggerUnusable(
                    f"{path} has the columns {', '.join(rows.fieldnames or ()) or 'none'}; "
                    "name and category are needed, as in a WD14 tagger's selected_tags.csv."
                )
            labels = tuple(_label(row, path, rows.line_num) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaggerUnusable(f"{path} cannot be read ({error}); fetch the tagger again.") from error
    if not labels:
        raise TaggerUnusable(f"{path} names no tag; fetch the tagger again.")
    return labels


def _label(row: dict[str, str | None], path: Path, line: int) -> Label:
    name, category = row.get("name"), row.get("category")
    if not name or category is None or not category.strip().isdecimal():
        raise TaggerUnusable(
            f"{path}, line {line}: {name!r} has the category {category!r}; a name and a number are "
            "expected. Fetch the tagger again."
        )
    chosen = defaults.tagger()
    use: Use = "left out"
    if not name.casefold().startswith(chosen.left_out):
        use = {chosen.general: "general", chosen.names: "names"}.get(int(category), "left out")  # type: ignore[assignment]
    return Label(booru.in_words(name), use)
