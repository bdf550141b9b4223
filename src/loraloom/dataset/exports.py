"""Write a dataset as other trainers read it: kohya, ai-toolkit, diffusers, or a plain ZIP.

What is written can be imported again and gives the same hash, as long as each picture has a
caption. Sources: those that the readers in `layouts` name.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from loraloom.dataset import crops, masks
from loraloom.dataset.layouts.metadata import MASK_COLUMN, mark_cell
from loraloom.dataset.layouts.plain import CONCEPTS_FILE
from loraloom.dataset.objects import Objects
from loraloom.dataset.sinks import Sink, folder_at, zip_at
from loraloom.dataset.snapshot import MAIN, Concept, Contents, Picture, folder_name
from loraloom.dataset.source import name_key
from loraloom.errors import DatasetNameInvalid, FolderEmpty, OutputExists

Format = Literal["kohya", "ai-toolkit", "diffusers", "zip"]
ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp",
           "TIFF": ".tif", "GIF": ".gif", "AVIF": ".avif", "HEIF": ".heic", "MP4": ".mp4",
           "MOV": ".mov", "MKV": ".mkv", "WEBM": ".webm"}  # fmt: skip
READ_BY = {
    "kohya": frozenset((".jpg", ".png", ".webp", ".bmp")),
    "ai-toolkit": frozenset((".jpg", ".png", ".webp", ".mp4", ".mov", ".mkv", ".webm")),
    "diffusers": frozenset(ENDINGS.values()) - {".heic", ".avif"},
    "zip": frozenset(ENDINGS.values()),
}
NO_MASK = ""
"""In place of a mask's name."""
LONGEST_STEM_BYTES = 80


@dataclass
class Export:
    """What is written where."""

    contents: Contents
    objects: Objects
    target: Path
    """Its final place, for configurations that name it."""
    sink: Sink
    burns_in: bool
    """Whether cropped pictures are written cropped: all but our own layout know no crops."""
    warnings: list[str] = field(default_factory=list)

    def write_pictures(
        self, folder_of: Callable[[Concept], str], *, captions: bool = True
    ) -> list[tuple[str, Picture, str]]:
        """Each picture in its concept's folder, its caption beside it, its mask under `masks`.

        Returns the picture's name, the picture, and its mask's name.
        """
        names: list[tuple[str, Picture, str]] = []
        taken: set[str] = set()
        for picture in self.contents.pictures:
            folder = folder_of(self.contents.concept(picture.concept))
            stem = _free_stem(picture, folder, taken)
            self.objects.verify(picture.sha256, picture.name)
            name = stem + ENDINGS.get(picture.kind, Path(picture.name).suffix.lower())
            if picture.crop and self.burns_in:
                name = f"{stem}.png"
                self.sink.data(name, crops.burn_in(picture, self.objects.path(picture.sha256)))
            else:
                self.sink.copy(name, self.objects.path(picture.sha256))
            if captions and picture.caption:
                self.sink.text(f"{stem}.txt", picture.caption + "\n")
            names.append((name, picture, self._write_mask(picture, stem)))
        return names

    def has_masks(self, concept: Concept) -> bool:
        """Whether any picture of the concept has a mask."""
        own = (p for p in self.contents.pictures if p.concept == concept.name)
        return any(picture.mask for picture in own)

    def _write_mask(self, picture: Picture, stem: str) -> str:
        if not picture.mask:
            return NO_MASK
        self.objects.verify(picture.mask, f"the mask of {picture.name}")
        name = f"{masks.FOLDER}/{stem}.png"
        path = self.objects.path(picture.mask)
        if picture.crop and self.burns_in:
            self.sink.data(name, crops.burn_in(picture, path, mask=True))
        else:
            self.sink.copy(name, path)
        return name


def export(
    contents: Contents,
    objects: Objects,
    to: Format,
    target: Path,
    *,
    as_csv: bool = False,
    packed: bool = False,
) -> list[str]:
    """Write `target`, a folder or a ZIP, whole or not at all; returns warnings.

    `as_csv`: metadata.csv in place of metadata.jsonl (diffusers). `packed`: what would be a folder
    is a ZIP, whose configurations name places in it. Raises OutputExists, FolderEmpty,
    DatasetNameInvalid, DatasetDamaged, DiskFull, OutputUnwritable.
    """
    if target.exists():
        raise OutputExists(f"{target} exists already; name another place or remove it.")
    if not contents.pictures:
        raise FolderEmpty("There is no picture to export.")
    if any(picture.mask for picture in contents.pictures):
        check_mask_folder(contents.counts())
    with zip_at(target) if packed or to == "zip" else folder_at(target) as sink:
        place = Path() if packed else target.resolve()
        writing = Export(contents, objects, place, sink, burns_in=to != "zip")
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
        if export.has_masks(concept):  # read with --masked_loss
            place = export.target / masks.FOLDER / folder(concept)
            lines.append(f"conditioning_data_dir = {_quoted(str(place))}")
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
        if export.has_masks(concept):
            entry["mask_path"] = str(export.target / masks.FOLDER / concept.name)
        datasets.append(entry)
    job = {"config": {"process": [{"type": "sd_trainer", "datasets": datasets}]}}
    head = "# For ai-toolkit: put these datasets into your job file.\n"
    text = yaml.safe_dump(job, sort_keys=False, allow_unicode=True)
    export.sink.text("datasets.yaml", head + text)


def _diffusers(export: Export, *, as_csv: bool) -> None:
    named = not is_plain(export.contents.concepts)
    lineage = any(picture.generated_by for picture in export.contents.pictures)
    masked = any(picture.mask for picture in export.contents.pictures)
    rows: list[dict[str, object]] = []
    for name, picture, mask in export.write_pictures(
        lambda concept: concept.name if named else "", captions=False
    ):
        row: dict[str, object] = {"file_name": name, "text": picture.caption}
        if named:
            concept = export.contents.concept(picture.concept)
            row |= {"concept": concept.name, "trigger": concept.trigger}
            row["num_repeats"] = concept.repeats
        if lineage:
            row["generated_by"] = picture.generated_by
        if masked:
            row[MASK_COLUMN] = mask
        rows.append(row)
    if as_csv:
        export.sink.text("metadata.csv", _csv(rows))
    else:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        export.sink.text("metadata.jsonl", "".join(lines))


def _plain(export: Export) -> None:
    plain = is_plain(export.contents.concepts)
    written = export.write_pictures(lambda concept: "" if plain else concept.name)
    parts = {name: picture.crop for name, picture, _ in written if picture.crop}
    if parts:
        export.sink.text(crops.FILE, crops.file_of(parts))
    if plain:
        return
    export.sink.text(CONCEPTS_FILE, concepts_file(export.contents.concepts))


def check_mask_folder(concepts: Iterable[str]) -> None:
    """Raise DatasetNameInvalid where a concept's folder would be that of the masks."""
    if masks.FOLDER in map(name_key, concepts):
        raise DatasetNameInvalid(
            f"A concept has the name {masks.FOLDER!r} of the folder that masks go to; give it "
            "another one."
        )


def concepts_file(concepts: Iterable[Concept]) -> str:
    """What `concepts.toml` says of folders that are named as their concepts."""
    lines: list[str] = []
    for concept in concepts:
        lines += ["[[concepts]]", f"folder = {_quoted(concept.name)}"]
        lines += [f"name = {_quoted(concept.name)}", f"trigger = {_quoted(concept.trigger)}"]
        lines += [f"num_repeats = {concept.repeats}", ""]
    return "\n".join(lines)


def is_plain(concepts: tuple[Concept, ...]) -> bool:
    """Whether there is nothing to say about concepts."""
    return concepts == (Concept(MAIN),)


def _warn_of_limits(export: Export, to: Format) -> None:
    pictures = export.contents.pictures
    bare = sum(not picture.caption for picture in pictures)
    if bare:
        export.warnings.append(f"{bare} pictures have no caption.")
    kinds = {ENDINGS.get(picture.kind, picture.kind) for picture in pictures} - READ_BY[to]
    if kinds:
        export.warnings.append(f"{to} may not read {', '.join(sorted(kinds))} files.")
    _warn_of_masks(export, to)
    cropped = sum(bool(picture.crop) for picture in pictures)
    if cropped and export.burns_in:
        export.warnings.append(
            f"{cropped} pictures are written as they are cropped; imported again they have another "
            "hash."
        )
    if to == "diffusers" and any(concept.repeats != 1 for concept in export.contents.concepts):
        export.warnings.append("diffusers' scripts do not read num_repeats.")


def _warn_of_masks(export: Export, to: Format) -> None:
    """What the others do with masks."""
    for concept in export.contents.concepts if to == "kohya" else ():
        own = [p for p in export.contents.pictures if p.concept == concept.name]
        bare = sum(not picture.mask for picture in own)
        if 0 < bare < len(own):
            export.warnings.append(
                f"{bare} of {len(own)} pictures of {concept.name!r} have no mask; sd-scripts wants "
                "one for each."
            )
    if to == "diffusers" and any(picture.mask for picture in export.contents.pictures):
        export.warnings.append("diffusers' scripts do not read masks.")


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
