"""kohya's dataset TOML. Source: sd-scripts, docs/config_README.

Options may stand in `[general]`, `[[datasets]]` or `[[datasets.subsets]]`; the innermost holds.
"""

from __future__ import annotations

import json
import posixpath
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from loraloom.dataset import caption_file, notes
from loraloom.dataset.layouts.plain import COUNTED
from loraloom.dataset.layouts.reading import (
    MAX_CONCEPTS,
    MAX_DESCRIPTION_BYTES,
    Reading,
    Tree,
    is_item,
)
from loraloom.dataset.snapshot import MAIN
from loraloom.dataset.source import SourceFile
from loraloom.errors import CaptionUnreadable

Options = Mapping[str, Any]


def read(tree: Tree) -> Reading | None:
    """As the first dataset TOML says; None where there is none."""
    reading = Reading("kohya TOML")
    for file in tree.files:
        if file.suffix == ".toml":
            table = _parse(reading, file)
            if table is not None:
                seen = _read_table(reading, tree, file, table)
                reading.tell_left_out(tree, file.name, seen)
                return reading
    return None


def _parse(reading: Reading, file: SourceFile) -> Options | None:
    """The table where it is one of kohya's."""
    try:
        table = tomllib.loads(reading.read_table(file, MAX_DESCRIPTION_BYTES))
    except (ValueError, RecursionError) as error:
        reading.findings.append(
            notes.warning("layout_broken", file.name, f"is not TOML and was not read: {error}")
        )
        return None
    return table if _subsets(table) else None


def _subsets(table: Options) -> list[dict[str, Any]]:
    """Each subset with the options it inherits."""
    general = table.get("general")
    found = []
    for dataset in _tables(table.get("datasets")):
        shared = {k: v for k, v in dataset.items() if k != "subsets"}
        for subset in _tables(dataset.get("subsets")):
            if subset.get("image_dir") or subset.get("metadata_file"):
                own = general if isinstance(general, dict) else {}
                found.append({**own, **shared, **subset})
    return found


def _read_table(reading: Reading, tree: Tree, file: SourceFile, table: Options) -> set[str]:
    """Returns the folders that were read."""
    base = posixpath.dirname(file.name)
    seen: set[str] = set()
    for subset in _subsets(table)[:MAX_CONCEPTS]:
        place = str(subset.get("image_dir") or posixpath.dirname(str(subset["metadata_file"])))
        folder = tree.folder_of_path(base, place)
        if folder is None:
            reading.findings.append(
                notes.warning("folder_missing", file.name, f"the folder {place!r} holds no picture")
            )
        elif subset.get("is_reg") is True:
            reading.findings.append(
                notes.warning(
                    "regularisation_left_out", folder or ".",
                    "regularisation pictures were left out: Loraloom draws its own",
                )
            )  # fmt: skip
            seen.add(folder)
        elif folder not in seen:  # the same folder again is for another resolution
            seen.add(folder)
            masks = tree.take_masks(folder, subset.get("conditioning_data_dir"), base)
            seen |= {masks} if masks is not None else set()
            _read_subset(reading, tree, folder, subset)
    return seen


def _read_subset(reading: Reading, tree: Tree, folder: str, subset: Options) -> None:
    words = str(subset.get("class_tokens") or "")
    base = posixpath.basename(folder)
    counted = COUNTED.match(base)
    name = (counted[2] if counted else base) or words or MAIN
    concept = reading.add_concept(name, words, subset.get("num_repeats", 1))
    start = len(reading.candidates)
    table = _table_of(reading, tree, folder, subset)
    if table is not None:
        _add_from_table(reading, tree.inside(folder), concept, *table)
    else:
        extension = subset.get("caption_extension")
        suffixes = (extension.lower(),) if isinstance(extension, str) else caption_file.SUFFIXES
        reading.add_beside(tree.inside(folder), concept, suffixes, fallback=words)
    _add_fixed_words(reading, start, subset)


def _table_of(
    reading: Reading, tree: Tree, folder: str, subset: Options
) -> tuple[str, Options] | None:
    """Name and content of the subset's `metadata_file`."""
    path = str(subset.get("metadata_file") or "").replace("\\", "/")
    file = tree.find(folder, posixpath.basename(path)) if path else None
    if file is None:
        return None
    try:
        table = json.loads(reading.read_table(file))
    except (ValueError, RecursionError) as error:
        reading.findings.append(notes.error("metadata_broken", file.name, f"is not JSON: {error}"))
        return None
    return (file.name, table) if isinstance(table, dict) else None


def _add_from_table(
    reading: Reading, files: list[SourceFile], concept: str, where: str, table: Options
) -> None:
    entries = {posixpath.basename(key.replace("\\", "/")): value for key, value in table.items()}
    for file in filter(is_item, files):
        entry = entries.get(file.path.name, entries.get(file.path.stem))
        texts = [entry.get(key) for key in ("caption", "tags")] if isinstance(entry, dict) else []
        text = ", ".join(text for text in texts if isinstance(text, str) and text)
        reading.add_text(file, text, concept, f"{where}, {file.path.name}")


def _add_fixed_words(reading: Reading, start: int, subset: Options) -> None:
    """What kohya puts before and after each caption while it trains."""
    prefix, suffix = (str(subset.get(f"caption_{end}") or "") for end in ("prefix", "suffix"))
    if not prefix and not suffix:
        return
    for index, candidate in enumerate(reading.candidates[start:], start):
        try:
            text = f"{prefix} {candidate.caption} {suffix}".strip()
            caption = caption_file.clean_caption(text, candidate.file.name).text
            reading.candidates[index] = replace(candidate, caption=caption)
        except CaptionUnreadable as error:
            reading.findings.append(notes.error(error.code, candidate.file.name, str(error)))


def _tables(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
