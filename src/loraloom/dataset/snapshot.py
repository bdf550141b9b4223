"""What a dataset holds, its hash, and what differs between two states of it."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from loraloom.errors import DatasetDamaged, DatasetNameInvalid

FORMAT = 2
"""Raised when a state is written that older versions cannot read; 2 has masks, clips and crops."""
MAIN = "main"
"""The concept of pictures that are in no folder of their own."""
MAX_REPEATS = 10_000
MAX_TRIGGER_CHARACTERS = 200
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""
Alike = tuple[str, str]
"""The SHA-256 of two pictures, the lesser first."""
LATER = frozenset(("mask", "crop", "frames", "fps", "duration_s"))
"""Fields of a picture that came with format 2."""


@dataclass(frozen=True)
class Concept:
    """One thing that is learnt, called by its trigger; each picture counts `repeats` times."""

    name: str
    trigger: str = ""
    repeats: int = 1


@dataclass(frozen=True)
class Picture:
    """One picture or clip of a dataset; its bytes are found by their SHA-256."""

    sha256: str
    caption: str
    concept: str
    name: str
    """What the file was called; only to be shown and for exports."""
    width_px: int
    height_px: int
    kind: str
    """As Pillow calls it: "JPEG"; of clips "MP4", "MOV", "MKV", "WEBM", "GIF"."""
    generated_by: str = ""
    """The adapter that drew it: its file's SHA-256; empty for a picture from elsewhere."""
    mask: str = ""
    """SHA-256 of the mask: a grey picture of the same size, 255 is learnt; empty: all of it is."""
    crop: Box | None = None
    """The part of the upright picture that is used; None: all of it."""
    frames: int = 0
    """Of a clip; 0: it is a picture."""
    fps: float = 0.0
    """Of a clip, on average."""
    duration_s: float = 0.0

    @property
    def is_clip(self) -> bool:
        """Whether it moves."""
        return self.frames > 0

    def content(self) -> tuple[str, ...]:
        """What counts for the hash; of a picture without mask and crop what always did."""
        parts = [self.sha256, self.caption, self.concept]
        if self.mask:
            parts.append(f"mask {self.mask}")
        if self.crop:
            parts.append("crop " + " ".join(map(str, self.crop)))
        if self.is_clip and self.kind == "GIF":  # the same bytes can be a picture
            parts.append("clip")
        return tuple(parts)

    def to_json(self) -> dict[str, object]:
        """What is written to the disk; a plain picture as the first format has it."""
        return {key: value for key, value in asdict(self).items() if value or key not in LATER}


@dataclass(frozen=True)
class Contents:
    """Pictures, clips and concepts: a working set at one moment, or a snapshot."""

    pictures: tuple[Picture, ...] = ()
    concepts: tuple[Concept, ...] = ()
    alike: tuple[Alike, ...] = ()
    """Pairs that look like copies and are kept both."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 over what pictures, captions, masks, crops and concepts are.

        Whatever the files are called, in whatever order, and whoever drew them. A concept without
        pictures does not count, nor which pictures are kept though they are alike.
        """
        used = {picture.concept for picture in self.pictures}
        content = {
            "pictures": sorted(picture.content() for picture in self.pictures),
            "concepts": sorted((c.name, c.trigger, c.repeats) for c in self.concepts
                               if c.name in used),
        }  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def concept(self, name: str) -> Concept:
        """The concept of that name; one without trigger where none was described."""
        return next((c for c in self.concepts if c.name == name), Concept(name))

    def counts(self) -> dict[str, int]:
        """Concept -> number of pictures, in the order of the concepts."""
        counts = {concept.name: 0 for concept in self.concepts}
        for picture in self.pictures:
            counts[picture.concept] = counts.get(picture.concept, 0) + 1
        return counts

    def to_json(self) -> dict[str, object]:
        """What is written to the disk."""
        return {
            "format": FORMAT if any(p.to_json().keys() & LATER for p in self.pictures) else 1,
            "hash": self.hash,
            "concepts": [asdict(concept) for concept in self.concepts],
            "pictures": [picture.to_json() for picture in self.pictures],
            **({"alike": self.alike} if self.alike else {}),
        }


@dataclass(frozen=True)
class Difference:
    """From one state to another."""

    added: tuple[Picture, ...]
    removed: tuple[Picture, ...]
    recaptioned: tuple[tuple[Picture, Picture], ...]
    moved: tuple[tuple[Picture, Picture], ...]
    """Pictures that changed their concept."""
    concepts: tuple[tuple[Concept | None, Concept | None], ...]
    """Concepts that came, went, or changed trigger or repeats."""
    reframed: tuple[tuple[Picture, Picture], ...] = ()
    """Pictures that got another mask or crop, or lost it."""

    def __bool__(self) -> bool:
        return any(
            (self.added, self.removed, self.recaptioned, self.moved, self.concepts, self.reframed)
        )


def diff(old: Contents, new: Contents) -> Difference:
    """What was added, removed and changed from `old` to `new`; names of files do not count."""
    before = {picture.sha256: picture for picture in old.pictures}
    after = {picture.sha256: picture for picture in new.pictures}
    both = [(before[key], after[key]) for key in before if key in after]
    concepts = [
        (was, becomes)
        for name in dict.fromkeys([*old.counts(), *new.counts()])
        if (was := _used(old, name)) != (becomes := _used(new, name))
    ]
    return Difference(
        added=tuple(picture for key, picture in after.items() if key not in before),
        removed=tuple(picture for key, picture in before.items() if key not in after),
        recaptioned=tuple((a, b) for a, b in both if a.caption != b.caption),
        moved=tuple((a, b) for a, b in both if a.concept != b.concept),
        concepts=tuple(concepts),
        reframed=tuple((a, b) for a, b in both if (a.mask, a.crop) != (b.mask, b.crop)),
    )


def from_json(tree: Mapping[str, Any], where: str) -> Contents:
    """The contents that `to_json` wrote. Raises DatasetDamaged when they are not what they were."""
    version = tree.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise DatasetDamaged(f"{where} was written by a newer Loraloom; update this one.")
    try:
        contents = Contents(
            tuple(map(_picture, tree["pictures"])),
            tuple(Concept(**concept) for concept in tree["concepts"]),
            tuple(alike_pair(first, second) for first, second in tree.get("alike", ())),
        )
        sound = contents.hash == tree["hash"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetDamaged(f"{where} is damaged ({error!r}); restore a snapshot.") from error
    if not sound:
        raise DatasetDamaged(f"{where} is damaged: its hash does not match; restore a snapshot.")
    return contents


def balanced(contents: Contents) -> tuple[Concept, ...]:
    """The concepts with repeats that make them weigh as equally as whole numbers can."""
    counts = contents.counts()
    most = max(counts.values(), default=0)
    return tuple(
        replace(concept, repeats=min(MAX_REPEATS, max(1, round(most / counts[concept.name]))))
        if counts[concept.name]
        else concept
        for concept in (contents.concept(name) for name in counts)
    )


def check_concept(concept: Concept) -> Concept:
    """`concept` as it is. Raises DatasetNameInvalid where it could not be a folder's name."""
    check_name(concept.name, "concept")
    if not 1 <= concept.repeats <= MAX_REPEATS:
        raise DatasetNameInvalid(
            f"The concept {concept.name!r} cannot have {concept.repeats} repeats: 1 to "
            f"{MAX_REPEATS:,} are possible."
        )
    trigger = concept.trigger
    if len(trigger) > MAX_TRIGGER_CHARACTERS or clean_name(trigger) != trigger.strip():
        raise DatasetNameInvalid(
            f"The trigger {trigger[:40]!r} of {concept.name!r} is not possible: it is one line of "
            f"{MAX_TRIGGER_CHARACTERS} characters at most."
        )
    return concept


def check_name(name: str, what: str) -> str:
    """`name` as it is. Raises DatasetNameInvalid where it could not be a folder's name."""
    if name != folder_name(name) or not name or "@" in name:
        raise DatasetNameInvalid(
            f"{name!r} cannot be the name of a {what}: up to 64 characters without "
            '/ \\ : * ? " < > | @, neither beginning nor ending with a dot or space.'
        )
    return name


def folder_name(name: str, most_bytes: int = 100) -> str:
    """The nearest name that every usual system takes for a folder; empty where none is left."""
    name = FORBIDDEN.sub("_", clean_name(name)).replace("@", "_")[:64]
    while len(name.encode()) > most_bytes:
        name = name[:-1]
    name = name.strip(" .")
    return f"_{name}" if RESERVED.fullmatch(name) else name


def clean_name(text: str) -> str:
    """One line of NFC text."""
    sound = text.encode("utf-8", "replace").decode().replace("\0", "")
    return " ".join(unicodedata.normalize("NFC", sound).split())


def alike_pair(one: str, other: str) -> Alike:
    """Two pictures in the order that pairs have."""
    return (one, other) if one < other else (other, one)


def joined_alike(*known: Iterable[Alike]) -> tuple[Alike, ...]:
    """All pairs of several states."""
    return tuple(sorted({pair for pairs in known for pair in pairs}))


def in_use(concepts: Iterable[Concept], pictures: Iterable[Picture]) -> tuple[Concept, ...]:
    """Those of the concepts that have pictures, and one for each that was not described."""
    known = {concept.name: concept for concept in concepts}
    names = dict.fromkeys(picture.concept for picture in pictures)
    order = [*(name for name in known if name in names), *(n for n in names if n not in known)]
    return tuple(known.get(name, Concept(name)) for name in order)


def _picture(tree: Mapping[str, Any]) -> Picture:
    crop = tree.get("crop")
    return Picture(**{**tree, "crop": tuple(crop) if crop else None})


def _used(contents: Contents, name: str) -> Concept | None:
    return contents.concept(name) if contents.counts().get(name) else None
