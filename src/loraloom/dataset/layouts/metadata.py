"""`metadata.jsonl` or `metadata.csv` beside the pictures: what Hugging Face calls an imagefolder.

Columns: `file_name`, `text`; ours too: `concept`, `trigger`, `num_repeats`, `generated_by`,
`mask_file_name`. Source: the datasets library's guide "Create an image dataset", ImageFolder.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Iterator, Mapping

from loraloom.dataset import notes
from loraloom.dataset.layouts.reading import Reading, Tree, is_item
from loraloom.dataset.snapshot import MAIN, clean_name
from loraloom.dataset.source import SourceFile

NAMES = ("metadata.jsonl", "metadata.csv")
NAME_COLUMNS = ("file_name", "file", "image")
MASK_COLUMN = "mask_file_name"
TEXT_COLUMNS = ("text", "caption", "prompt")
MARKED = re.compile(r"'+[=+\-@]")
RISKY = re.compile(r"'*[=+\-@]")

Row = Mapping[str, object]


def read(tree: Tree) -> Reading | None:
    """As the metadata files say; None where there are none."""
    tables: dict[str, SourceFile] = {}
    for name in NAMES:
        for file in tree.files:
            if file.path.name.lower() == name:
                tables.setdefault(posixpath.dirname(file.name), file)
    if not tables:
        return None
    reading = Reading("imagefolder")
    seen: set[str] = set()
    for folder, file in tables.items():
        for where, row in _rows(reading, file):
            _add(reading, tree, folder, where, row, seen)
    _add_unnamed(reading, tree, seen)
    return reading


def mark_cell(text: str) -> str:
    """`text` for a CSV cell that no spreadsheet takes for a formula."""
    return f"'{text}" if RISKY.match(text) else text


def unmark_cell(text: str) -> str:
    """What `mark_cell` was given."""
    return text[1:] if MARKED.match(text) else text


def _rows(reading: Reading, file: SourceFile) -> Iterator[tuple[str, Row]]:
    """Where a row stands, and the row."""
    text = reading.read_table(file)
    rows = _json_rows(text) if file.suffix == ".jsonl" else _csv_rows(text)
    number = 0
    try:
        for number, row in rows:
            yield f"{file.name}, line {number}", row
    except (ValueError, RecursionError, csv.Error) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        kind = file.suffix.removeprefix(".").upper()
        reading.findings.append(
            notes.error(
                "metadata_broken", file.name,
                f"is not valid {kind} after line {number} ({reason})", "mend that line",
            )
        )  # fmt: skip


def read_rows(text: str, suffix: str) -> Iterator[tuple[int, Row]]:
    """Line and row of a .jsonl or .csv. Raises ValueError with the last line that was sound."""
    number = 0
    try:
        for number, row in _json_rows(text) if suffix == ".jsonl" else _csv_rows(text):
            yield number, row
    except (ValueError, RecursionError, csv.Error) as error:
        raise ValueError(f"after line {number}: {error or type(error).__name__}") from error


def _json_rows(text: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{error.msg} in column {error.colno}") from None
            if not isinstance(row, dict):
                raise ValueError("each line must be an object")
            yield number, row


def _csv_rows(text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    for row in reader:
        yield (
            reader.line_num,
            {
                key: unmark_cell(value)
                for key, value in row.items()
                if key and isinstance(value, str)
            },
        )


def _add(reading: Reading, tree: Tree, folder: str, where: str, row: Row, seen: set[str]) -> None:
    name = _first(row, NAME_COLUMNS)
    if not name:
        columns = ", ".join(map(str, list(row)[:8])) or "nothing"
        reading.findings.append(
            notes.error(
                "metadata_broken", where, f"names no picture (columns: {columns})",
                "the column file_name is needed",
            )
        )  # fmt: skip
        return
    file = tree.find(folder, name)
    if file is None or not is_item(file):
        reading.findings.append(
            notes.warning("caption_without_picture", where, f"there is no picture {_brief(name)}")
        )
        return
    if file.name in seen:
        reading.findings.append(
            notes.warning("named_twice", where, f"{_brief(name)} was named before; the first holds")
        )
        return
    seen.add(file.name)
    if mask := tree.find(folder, _text(row.get(MASK_COLUMN)) or file.name):
        seen.add(mask.name)
        if mask is not file:
            tree.masks.setdefault(file.name, mask)
    concept = reading.add_concept(
        _text(row.get("concept")) or MAIN, _text(row.get("trigger")), _repeats(row)
    )
    lineage = clean_name(_text(row.get("generated_by")))[:200]
    reading.add_text(file, _first(row, TEXT_COLUMNS), concept, where, lineage)


def _add_unnamed(reading: Reading, tree: Tree, seen: set[str]) -> None:
    """Pictures that no row names, with the caption that may lie beside them."""
    for folder in tree.folders:
        files = tree.inside(folder)
        pictures = [file for file in files if is_item(file) and file.name not in seen]
        stems = {file.path.stem for file in pictures}
        texts = [file for file in files if not is_item(file) and file.path.stem in stems]
        if pictures:
            reading.add_beside([*pictures, *texts], reading.add_concept(MAIN))


def _first(row: Row, columns: tuple[str, ...]) -> str:
    return next((text for column in columns if (text := _text(row.get(column)))), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _repeats(row: Row) -> object:
    value = row.get("num_repeats", 1)
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value) else value


def _brief(name: str) -> str:
    return repr(clean_name(name)[:120])
