"""The captions of a stored dataset alone: out to be edited elsewhere, and in again by name.

Out as NAME.txt in a ZIP, as .csv or as .jsonl; in as any of these, or as one text file.
A table has the columns file_name, text, concept and sha256, of which the last goes first where it
names a picture.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from loraloom.captions.bulk import Change
from loraloom.dataset import archive, caption_file, sinks
from loraloom.dataset.layouts.metadata import NAME_COLUMNS, TEXT_COLUMNS, mark_cell, read_rows
from loraloom.dataset.snapshot import Contents, Picture, clean_name
from loraloom.dataset.source import SourceDamage, SourceFile, read_path
from loraloom.errors import CaptionEditInvalid, CaptionUnreadable
from loraloom.files import write_atomic
from loraloom.settings import IntakeLimits

Shape = Literal["txt", "csv", "jsonl"]
COLUMNS = ("file_name", "text", "concept", "sha256")
TABLES = (".csv", ".jsonl")
MOST_BYTES = 64 * 2**20
"""Of all captions handed in."""
MOST_ROWS = 100_000
LONGEST_NAME = 500
EXACT = "\0"
"""Before the name that only one picture has."""


@dataclass(frozen=True)
class Given:
    """A caption that was handed in, and what it is said to be of."""

    name: str
    text: str
    concept: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Taken:
    """What captions that were handed in would do."""

    changes: tuple[Change, ...]
    same: int
    """Captions that are there already."""
    unknown: tuple[str, ...]
    """Names that no picture has."""
    ambiguous: tuple[str, ...]
    """Names that several pictures have."""


def write(contents: Contents, shape: Shape, path: Path) -> None:
    """Write the captions to a new file at `path`. Raises DiskFull, OutputUnwritable."""
    names = _names(contents)
    if shape == "txt":
        with sinks.zip_at(path) as sink:
            for picture in contents.pictures:
                if picture.caption:
                    sink.text(f"{names[picture.sha256]}.txt", picture.caption + "\n")
        return
    rows = [
        {"file_name": p.name, "text": p.caption, "concept": p.concept, "sha256": p.sha256}
        for p in contents.pictures
    ]
    out = io.StringIO(newline="")
    if shape == "csv":
        table = csv.DictWriter(out, COLUMNS)
        table.writeheader()
        table.writerows({key: mark_cell(text) for key, text in row.items()} for row in rows)
    else:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(path, out.getvalue().encode(), durable=False)


def read(path: Path, name: str, limits: IntakeLimits) -> list[Given]:
    """The captions in a ZIP, a table or a text file that is called `name`.

    Raises CaptionEditInvalid with what is wrong, and where.
    """
    if archive.looks_like_archive(path, name):
        listing = archive.list_archive(path, limits, name)
        if listing.findings:
            first = listing.findings[0]
            raise CaptionEditInvalid(f"{first.item}: {first.message}; {first.fix}.")
        files = listing.files
    else:
        files = [SourceFile(name, lambda: read_path(path), path)]
    found: list[Given] = []
    left = MOST_BYTES
    for file in files:
        data = _bytes_of(file)
        left -= len(data)
        found += islice(_rows_of(file, data), MOST_ROWS + 1 - len(found))
        if left < 0 or len(found) > MOST_ROWS:
            raise CaptionEditInvalid(
                f"{name} holds too much: {MOST_ROWS:,} captions and {MOST_BYTES >> 20} MiB are "
                "possible at once; split it."
            )
    if not found:
        raise CaptionEditInvalid(
            f"{name} holds no caption: text files called as the pictures are, or a .csv or .jsonl "
            "with the columns file_name and text, are expected."
        )
    return found


def take(contents: Contents, given: Iterable[Given]) -> Taken:
    """Which captions would change; nothing is written. Raises CaptionUnreadable."""
    places = _places(contents)
    own = {_key(name) for name in contents.counts()}
    by_sha = {picture.sha256: picture for picture in contents.pictures}
    changes: dict[str, Change] = {}
    same = 0
    unknown: list[str] = []
    ambiguous: list[str] = []
    for one in given:
        found = [by_sha[one.sha256]] if one.sha256 in by_sha else _find(places, own, one)
        if len(found) != 1:
            (ambiguous if found else unknown).append(one.name)
            continue
        picture = found[0]
        text = caption_file.clean_caption(one.text, one.name).text
        if text == picture.caption:
            same += 1
            changes.pop(picture.sha256, None)
        else:
            changes[picture.sha256] = Change(picture.sha256, picture.name, picture.caption, text)
    return Taken(tuple(changes.values()), same, tuple(unknown), tuple(ambiguous))


def _bytes_of(file: SourceFile) -> bytes:
    """Of a table or a text file; of others none."""
    try:
        if file.suffix in TABLES:
            return file.read(MOST_BYTES)
        return file.read(caption_file.MAX_BYTES) if file.suffix in caption_file.SUFFIXES else b""
    except (SourceDamage, OSError) as error:
        raise CaptionEditInvalid(f"{file.name} cannot be read: {error}.") from error


def _rows_of(file: SourceFile, data: bytes) -> Iterator[Given]:
    try:
        if file.suffix in TABLES:
            text, _ = caption_file.decode_text(data, file.name)
            yield from (_given(row, line) for line, row in read_rows(text, file.suffix))
        elif file.suffix in caption_file.SUFFIXES:
            text, _ = caption_file.decode_text(data, file.name)
            folder = file.path.parent.name
            yield Given(file.name.removesuffix(file.path.suffix), text, folder)
    except (CaptionUnreadable, ValueError) as error:
        raise CaptionEditInvalid(f"{file.name} cannot be read: {error}.") from error


def _given(row: Mapping[str, object], line: int) -> Given:
    def first(*columns: str) -> str | None:
        values = (row.get(column) for column in columns)
        return next((value for value in values if isinstance(value, str)), None)

    name, text = first(*NAME_COLUMNS), first(*TEXT_COLUMNS)
    if not name or text is None:
        there = ", ".join(map(str, row))
        raise ValueError(f"line {line} has no file_name or no text, but {there}")
    return Given(
        clean_name(name)[:LONGEST_NAME], text, first("concept") or "", first("sha256") or ""
    )


def _names(contents: Contents) -> dict[str, str]:
    """SHA-256 -> the name of its text file without ending, which only this picture has."""
    often = Counter(_key(PurePosixPath(p.name).stem) for p in contents.pictures)
    inside = Counter(_key(f"{p.concept}/{PurePosixPath(p.name).stem}") for p in contents.pictures)
    whole = {_key(PurePosixPath(p.name).name) for p in contents.pictures}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for picture in contents.pictures:
        stem = PurePosixPath(picture.name).stem
        name = stem if often[_key(stem)] == 1 else f"{picture.concept}/{stem}"
        shared = inside[_key(f"{picture.concept}/{stem}")] > 1
        if shared or _key(stem) in whole or _key(name) in taken:
            name = f"{name}-{picture.sha256[:8]}"
        taken.add(_key(name))
        names[picture.sha256] = name
    return names


def _places(contents: Contents) -> dict[str, list[Picture]]:
    """What a picture may be called -> the pictures that are; what an export calls it is marked."""
    exact = _names(contents)
    found: dict[str, list[Picture]] = {}
    for picture in contents.pictures:
        name = PurePosixPath(picture.name).name
        stem = PurePosixPath(name).stem
        called = (
            name, stem, f"{picture.concept}/{name}", f"{picture.concept}/{stem}",
            f"{EXACT}{exact[picture.sha256]}",
        )  # fmt: skip
        for one in set(map(_key, called)):
            found.setdefault(one, []).append(picture)
    return found


def _find(places: Mapping[str, list[Picture]], own: Collection[str], given: Given) -> list[Picture]:
    """By the name that an export gives, by concept and name, else by the name alone.

    Where the concept is one of the dataset's `own`, a picture of another one is not meant.
    """
    name = PurePosixPath(given.name.replace("\\", "/")).name
    concept = _key(given.concept)
    for called in (f"{EXACT}{given.name}", f"{given.concept}/{name}", given.name, name):
        found = places.get(_key(called), [])
        if concept in own:
            found = [picture for picture in found if _key(picture.concept) == concept]
        if found:
            return found
    return []


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
