"""`crops.toml` beside pictures: which part of each is used."""

from __future__ import annotations

import posixpath
import tomllib

from loraloom.dataset import crops, notes
from loraloom.dataset.layouts.reading import MAX_TABLE_BYTES, Reading, Tree
from loraloom.dataset.snapshot import Box


def read_files(tree: Tree, reading: Reading) -> dict[str, Box]:
    """All that the files `crops.toml` of a source say, by the names of pictures in it."""
    found: dict[str, Box] = {}
    for file in tree.files:
        if file.path.name != crops.FILE:
            continue
        try:
            table = tomllib.loads(reading.read_table(file, MAX_TABLE_BYTES))
        except (ValueError, RecursionError) as error:
            reading.findings.append(
                notes.error("layout_broken", file.name, f"is not TOML: {error}")
            )
            continue
        for name, value in table.items():
            picture = tree.find(posixpath.dirname(file.name), name)
            if picture is None:
                reading.findings.append(
                    notes.warning("crop_without_picture", file.name, f"names {name[:120]!r}, which "
                                  "is not there")
                )  # fmt: skip
            elif not _is_box(value):
                reading.findings.append(
                    notes.error("crop_invalid", picture.name, f"its crop {str(value)[:80]} is not "
                                "possible", "give [left, top, width, height] in pixels")
                )  # fmt: skip
            else:
                left, top, width, height = value
                found[picture.name] = (left, top, width, height)
    return found


def _is_box(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(side, int) and not isinstance(side, bool) for side in value)
    )
