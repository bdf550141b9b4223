"""Folders of pictures with captions beside them: plain, by concept, or as kohya names them.

kohya: `10_ohwx woman` is a folder whose pictures count ten times and show "ohwx woman". Ours: a
`concepts.toml` beside the folders says the same in words. Source of the former: sd-scripts,
docs/train_README.
"""

from __future__ import annotations

import posixpath
import re
import tomllib

from loraloom.dataset import notes
from loraloom.dataset.layouts.reading import (
    MAX_CONCEPTS,
    MAX_DESCRIPTION_BYTES,
    Reading,
    Tree,
)
from loraloom.dataset.snapshot import MAIN

CONCEPTS_FILE = "concepts.toml"
COUNTED = re.compile(r"^(\d{1,9})_(.+)$")
REGULARISATION = ("reg", "regularisation", "regularization")


def read(tree: Tree) -> Reading:
    """Every picture, each folder a concept."""
    folders = tree.folders
    counted = any(COUNTED.match(posixpath.basename(folder)) for folder in folders)
    reading = Reading("kohya folders" if counted else "plain")
    top = _top(folders)
    for folder in folders:
        name = posixpath.relpath(folder or ".", top or ".")
        found = COUNTED.match(posixpath.basename(folder))
        if counted and set(folder.casefold().split("/")) & set(REGULARISATION):
            reading.findings.append(
                notes.warning(
                    "regularisation_left_out", folder,
                    "regularisation pictures were left out: Loraloom draws its own",
                )
            )  # fmt: skip
        elif found:
            words = found[2].strip()
            concept = reading.add_concept(words, words, int(found[1]))
            reading.add_beside(tree.inside(folder), concept, fallback=words)
        else:
            concept = reading.add_concept(MAIN if name == "." else name)
            reading.add_beside(tree.inside(folder), concept)
    return reading


def read_concepts(tree: Tree) -> Reading | None:
    """As `concepts.toml` says; None where there is none."""
    file = next((file for file in tree.files if file.path.name == CONCEPTS_FILE), None)
    if file is None:
        return None
    reading = Reading("concepts")
    try:
        table = tomllib.loads(reading.read_table(file, MAX_DESCRIPTION_BYTES))
    except (ValueError, RecursionError) as error:
        reading.findings.append(notes.error("layout_broken", file.name, f"is not TOML: {error}"))
        return reading
    entries = table.get("concepts")
    base = posixpath.dirname(file.name)
    seen: set[str] = set()
    for entry in entries[:MAX_CONCEPTS] if isinstance(entries, list) else []:
        place = str(entry.get("folder", "")) if isinstance(entry, dict) else ""
        folder = tree.folder_of_path(base, place)
        if not place or folder is None:
            reading.findings.append(
                notes.warning("folder_missing", file.name, f"the folder {place!r} holds no picture")
            )
            continue
        if folder in seen:
            continue
        seen.add(folder)
        name = str(entry.get("name") or posixpath.basename(folder))
        trigger = str(entry.get("trigger", ""))
        concept = reading.add_concept(name, trigger, entry.get("num_repeats", 1))
        reading.add_beside(tree.inside(folder), concept)
    reading.tell_left_out(tree, CONCEPTS_FILE, seen)
    return reading


def _top(folders: list[str]) -> str:
    """The folder that all others are in; of a single one that is no concept, itself."""
    if not folders:
        return ""
    return posixpath.commonpath([folder or "." for folder in folders]) if all(folders) else ""
