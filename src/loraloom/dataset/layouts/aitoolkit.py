"""ai-toolkit: folders of pictures with `.txt` captions, named by the datasets of a job's YAML.

Source: ai-toolkit, config/examples/train_lora_flux_24gb.yaml and DatasetConfig in
toolkit/config_modules.py.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from loraloom.dataset import notes
from loraloom.dataset.layouts.reading import (
    MAX_CONCEPTS,
    MAX_DESCRIPTION_BYTES,
    Reading,
    Tree,
)
from loraloom.dataset.snapshot import MAIN
from loraloom.dataset.source import SourceFile

PLACEHOLDER = "[trigger]"


def read(tree: Tree) -> Reading | None:
    """As the first job file says; None where there is none."""
    reading = Reading("ai-toolkit")
    for file in tree.files:
        found = _datasets(_parse(reading, file)) if _may_be_job(file) else iter(())
        datasets = list(islice(found, MAX_CONCEPTS))
        if datasets:
            seen: set[str] = set()
            for dataset, trigger in datasets:
                _read_dataset(reading, tree, file, dataset, trigger, seen)
            reading.tell_left_out(tree, file.name, seen)
            return reading
    return None


def _may_be_job(file: SourceFile) -> bool:
    return file.suffix in (".yaml", ".yml")


def _parse(reading: Reading, file: SourceFile) -> object:
    import yaml

    text = reading.read_table(file, MAX_DESCRIPTION_BYTES)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reading.findings.append(
            notes.warning("layout_broken", file.name, f"is not YAML and was not read: {reason}")
        )
        return None


def _datasets(job: object) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each dataset with the trigger that holds for it."""
    for process in _dicts(_get(_get(job, "config"), "process")):
        shared = _get(process, "trigger_word")
        for dataset in _dicts(_get(process, "datasets")):
            if isinstance(dataset.get("folder_path"), str):
                own = dataset.get("trigger_word")
                yield dataset, str(own if own is not None else shared or "")


def _read_dataset(
    reading: Reading,
    tree: Tree,
    file: SourceFile,
    dataset: Mapping[str, Any],
    trigger: str,
    seen: set[str],
) -> None:
    place = str(dataset["folder_path"])
    folder = tree.folder_of_path(posixpath.dirname(file.name), place)
    if folder is None:
        reading.findings.append(
            notes.warning("folder_missing", file.name, f"the folder {place!r} holds no picture")
        )
        return
    if folder in seen:  # again, for another resolution
        return
    seen.add(folder)
    masks = tree.take_masks(folder, dataset.get("mask_path"), posixpath.dirname(file.name))
    if masks is not None:
        seen.add(masks)
    inside = tree.inside(folder)
    name = posixpath.basename(folder) or MAIN
    concept = reading.add_concept(name, trigger, dataset.get("num_repeats", 1))
    start = len(reading.candidates)
    extension = str(dataset.get("caption_ext") or "txt").lower().lstrip(".")
    fallback = str(dataset.get("default_caption") or "")
    reading.add_beside(inside, concept, (f".{extension}",), fallback)
    reading.candidates[start:] = [
        replace(c, caption=c.caption.replace(PLACEHOLDER, trigger))
        for c in reading.candidates[start:]
    ]


def _get(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _dicts(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
