"""Recognise in which of the usual ways a source lays out pictures and captions, and read it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from loraloom.dataset import caption_file, images, notes
from loraloom.dataset.folder import FOREIGN_SUFFIXES
from loraloom.dataset.layouts import aitoolkit, cropped, kohya, metadata, plain
from loraloom.dataset.layouts.reading import Reading, Tree, is_item, tree_of
from loraloom.dataset.source import Listing

ARCHIVES = frozenset((".zip", ".cbz", ".rar", ".7z", ".tar", ".gz", ".tgz"))
DESCRIPTIONS = frozenset((".toml", ".yaml", ".yml", ".json", ".jsonl", ".csv"))
READERS = (plain.read_concepts, kohya.read, aitoolkit.read, metadata.read)
"""From the most telling description to the least; the plain reader takes what is left."""


def read(listing: Listing) -> Reading:
    """The pictures and clips of a source with captions and concepts, and all that was found."""
    tree = tree_of(listing)
    reading = next((found for reader in READERS if (found := reader(tree))), None)
    reading = reading or plain.read(tree)
    reading.findings += tree.findings
    parts = cropped.read_files(tree, reading)
    reading.candidates = [
        replace(
            candidate,
            mask=tree.masks.get(candidate.file.name),
            crop=parts.get(candidate.file.name),
        )
        for candidate in reading.candidates
    ]
    _tell_other_files(tree, reading)
    return reading


def _tell_other_files(tree: Tree, reading: Reading) -> None:
    """Name what is not read: rare formats refuse, archives and the rest are skipped."""
    others: Counter[str] = Counter()
    for file in tree.files:
        suffix = file.suffix
        if suffix in ARCHIVES:
            reading.findings.append(
                notes.warning(
                    "unsupported_format", file.name,
                    "an archive inside is not opened; it was skipped", "unpack it first",
                )
            )  # fmt: skip
        elif suffix in FOREIGN_SUFFIXES - images.CLIP_SUFFIXES:
            reading.findings.append(
                notes.error(
                    "unsupported_format", file.name, f"{suffix} files are not accepted",
                    "convert it to PNG or MP4, or leave it out",
                )
            )  # fmt: skip
        elif not is_item(file) and suffix not in {*caption_file.SUFFIXES, *DESCRIPTIONS}:
            others[suffix or "without ending"] += 1
    if others:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in others.most_common(8))
        reading.findings.append(
            notes.hint("other_files", "", f"Files of other kinds were left out: {kinds}")
        )
