"""Write a dataset as other trainers read it: kohya, ai-toolkit, diffusers, or a plain ZIP.

What is written can be imported again and gives the same hash, as long as each picture has a
caption. Sources: those that the readers in `layouts` name.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from loraloom.dataset.layouts.metadata import mark_cell
from loraloom.dataset.layouts.plain import CONCEPTS_FILE
from loraloom.dataset.objects import Objects
from loraloom.dataset.snapshot import MAIN, Concept, Contents, Picture, folder_name
from loraloom.dataset.source import name_key
from loraloom.errors import FolderEmpty, OutputExists
from loraloom.files import sync_folder, telling_failures

Format = Literal["kohya", "ai-toolkit", "diffusers", "zip"]
ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp",
           "TIFF": ".tif", "GIF": ".gif", "AVIF": ".avif", "HEIF": ".heic"}  # fmt: skip
READ_BY = {
    "kohya": frozenset((".jpg", ".png", ".webp", ".bmp")),
    "ai-toolkit": frozenset((".jpg", ".png", ".webp")),
    "diffusers": frozenset(ENDINGS.values()) - {".heic", ".avif"},
    "zip": frozenset(ENDINGS.values()),
}
LONGEST_STEM_BYTES = 80


class Sink(Protocol):
    """Where an export goes."""

    def text(self, name: str, content: str) -> None:
        """A small file."""

    def copy(self, name: str, source: Path) -> None:
        """A file byte for byte."""


@dataclass
class Export:
    """What is written where."""

    contents: Contents
    objects: Objects
    target: Path
    """Its final place, for configurations that name it."""
    sink: Sink
    warnings: list[str] = field(default_factory=list)

    def write_pictures(
        self, folder_of: Callable[[Concept], str], *, captions: bool = True
    ) -> list[tuple[str, Picture]]:
        """Each picture in its concept's folder, its caption beside it; returns their names."""
        names: list[tuple[str, Picture]] = []
        taken: set[str] = set()
        for picture in self.contents.pictures:
            folder = folder_of(self.contents.concept(picture.concept))
            stem = _free_stem(picture, folder, taken)
            self.objects.verify(picture.sha256, picture.name)
            name = stem + ENDINGS.get(picture.kind, Path(picture.name).suffix.lower())
            self.sink.copy(name, self.objects.path(picture.sha256))
            if captions and picture.caption:
                self.sink.text(f"{stem}.txt", picture.caption + "\n")
            names.append((name, picture))
        return names


def export(
    contents: Contents, objects: Objects, to: Format, target: Path, *, as_csv: bool = False
) -> list[str]:
    """Write `target`, a folder or a ZIP, whole or not at all; returns warnings.

    `as_csv`: metadata.csv in place of metadata.jsonl (diffusers). Raises OutputExists, FolderEmpty,
    DatasetDamaged, DiskFull, OutputUnwritable.
    """
    if target.exists():
        raise OutputExists(f"{target} exists already; name another place or remove it.")
    if not contents.pictures:
        raise FolderEmpty("There is no picture to export.")
    with _zip_at(target) if to == "zip" else _folder_at(target) as sink:
        writing = Export(contents, objects, target.resolve(), sink)
        _warn_of_limits(writing, to)
        match to:
            case "kohya":
                _kohya(writing)
            case "ai-toolkit":
                _ai_toolkit(writing)
            case "diffusers":
                _diffusers(writing, as_csv=as_csv)
            case "zip":
                _plain(writing)
    return writing.warnings


def _kohya(export: Export) -> None:
    def folder(concept: Concept) -> str:
        return f"{concept.repeats}_{concept.name}"

    export.write_pictures(folder)
    lines = [
        "# For sd-scripts, --dataset_config dataset.toml; set resolution and batch size yourself.",
        "[general]",
        'caption_extension = ".txt"',
        "enable_bucket = true",
        "",
        "[[datasets]]",
    ]
    for concept in export.contents.concepts:
        lines += ["", "[[datasets.subsets]]"]
        lines.append(f"image_dir = {_quoted(str(export.target / folder(concept)))}")
        if concept.trigger:
            lines.append(f"class_tokens = {_quoted(concept.trigger)}")
        lines.append(f"num_repeats = {concept.repeats}")
    export.sink.text("dataset.toml", "\n".join(lines) + "\n")


def _ai_toolkit(export: Export) -> None:
    import yaml

    export.write_pictures(lambda concept: concept.name)
    datasets: list[dict[str, object]] = []
    for concept in export.contents.concepts:
        entry: dict[str, object] = {
            "folder_path": str(export.target / concept.name),
            "caption_ext": "txt",
            "num_repeats": concept.repeats,
        }
        if concept.trigger:
            entry["trigger_word"] = concept.trigger
        datasets.append(entry)
    job = {"config": {"process": [{"type": "sd_trainer", "datasets": datasets}]}}
    head = "# For ai-toolkit: put these datasets into your job file.\n"
    text = yaml.safe_dump(job, sort_keys=False, allow_unicode=True)
    export.sink.text("datasets.yaml", head + text)


def _diffusers(export: Export, *, as_csv: bool) -> None:
    named = not _is_plain(export.contents)
    lineage = any(picture.generated_by for picture in export.contents.pictures)
    rows: list[dict[str, object]] = []
    for name, picture in export.write_pictures(
        lambda concept: concept.name if named else "", captions=False
    ):
        row: dict[str, object] = {"file_name": name, "text": picture.caption}
        if named:
            concept = export.contents.concept(picture.concept)
            row |= {"concept": concept.name, "trigger": concept.trigger}
            row["num_repeats"] = concept.repeats
        if lineage:
            row["generated_by"] = picture.generated_by
        rows.append(row)
    if as_csv:
        export.sink.text("metadata.csv", _csv(rows))
    else:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        export.sink.text("metadata.jsonl", "".join(lines))


def _plain(export: Export) -> None:
    if _is_plain(export.contents):
        export.write_pictures(lambda concept: "")
        return
    export.write_pictures(lambda concept: concept.name)
    lines: list[str] = []
    for concept in export.contents.concepts:
        lines += ["[[concepts]]", f"folder = {_quoted(concept.name)}"]
        lines += [f"name = {_quoted(concept.name)}", f"trigger = {_quoted(concept.trigger)}"]
        lines += [f"num_repeats = {concept.repeats}", ""]
    export.sink.text(CONCEPTS_FILE, "\n".join(lines))


def _is_plain(contents: Contents) -> bool:
    """Whether there is nothing to say about concepts."""
    return contents.concepts == (Concept(MAIN),)


def _warn_of_limits(export: Export, to: Format) -> None:
    pictures = export.contents.pictures
    bare = sum(not picture.caption for picture in pictures)
    if bare:
        export.warnings.append(f"{bare} pictures have no caption.")
    kinds = {ENDINGS.get(picture.kind, picture.kind) for picture in pictures} - READ_BY[to]
    if kinds:
        export.warnings.append(f"{to} may not read {', '.join(sorted(kinds))} files.")
    if to == "diffusers" and any(concept.repeats != 1 for concept in export.contents.concepts):
        export.warnings.append("diffusers' scripts do not read num_repeats.")


def _free_stem(picture: Picture, folder: str, taken: set[str]) -> str:
    """A short name that is unique in the export, whatever its ending."""
    own = Path(picture.name).stem
    stem = folder_name(own, LONGEST_STEM_BYTES)
    if not stem or len(own.encode("utf-8", "replace")) > LONGEST_STEM_BYTES:
        stem = f"{stem[:50]}-{picture.sha256[:8]}".lstrip("-")
    number, name = 1, f"{folder}/{stem}".lstrip("/")
    while name_key(name) in taken:
        number += 1
        name = f"{folder}/{stem}-{number}".lstrip("/")
    taken.add(name_key(name))
    return name


def _csv(rows: list[dict[str, object]]) -> str:
    """As a spreadsheet opens it, without a cell that it would take for a formula."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: mark_cell(str(value)) for key, value in row.items()})
    return text.getvalue()


def _quoted(text: str) -> str:
    """A TOML basic string, which is what JSON writes."""
    return json.dumps(text, ensure_ascii=False)


class _FolderSink:
    def __init__(self, root: Path) -> None:
        self._root = root

    def text(self, name: str, content: str) -> None:
        self._place(name).write_text(content, encoding="utf-8", newline="\n")

    def copy(self, name: str, source: Path) -> None:
        shutil.copyfile(source, self._place(name))

    def _place(self, name: str) -> Path:
        path = self._root / name
        path.parent.mkdir(exist_ok=True)
        return path


class _ZipSink:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def text(self, name: str, content: str) -> None:
        self._archive.writestr(_entry(name), content, zipfile.ZIP_DEFLATED)

    def copy(self, name: str, source: Path) -> None:
        with source.open("rb") as stream, self._archive.open(_entry(name), "w") as out:
            shutil.copyfileobj(stream, out)


def _entry(name: str) -> zipfile.ZipInfo:
    """Without the time, so that the same dataset gives the same bytes."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o100644 << 16
    return entry


@contextmanager
def _folder_at(target: Path) -> Iterator[Sink]:
    with telling_failures(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            beside.chmod(0o755)
            yield _FolderSink(beside)
            beside.rename(target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _zip_at(target: Path) -> Iterator[Sink]:
    with telling_failures(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.tmp")
        try:
            with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
                yield _ZipSink(archive)
            beside.replace(target)
            sync_folder(target.parent)
        finally:
            beside.unlink(missing_ok=True)
