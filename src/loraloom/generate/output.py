"""What drawings leave in a folder: pictures, or clips and their first frames; contact sheets.

Each picture and clip tells how it came.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import loraloom
from loraloom.dataset.prepare import encode
from loraloom.files import write_png
from loraloom.generate.session import Request
from loraloom.generate.sheet import sheet

ENDINGS = (".png", ".mp4")
IN_A_ROW = 5
"""Pictures of a prompt, or moments of a clip, that a row of a contact sheet shows."""
ROWS = 12
"""More rows go on in another sheet."""


@dataclass(frozen=True)
class Used:
    """An adapter, and how it was used."""

    path: Path
    scale: float
    experts: tuple[str, ...] = ()
    """Of a base that has some: those that it worked in."""

    def facts(self) -> dict[str, object]:
        """As they stand in what is drawn."""
        with self.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        told = {"file": self.path.name, "sha256": digest, "scale": self.scale}
        return {**told, **({"experts": self.experts} if self.experts else {})}


@dataclass(frozen=True)
class Left:
    """The files of one drawing."""

    path: Path
    poster: Path | None = None
    """Of a clip: its first frame, as a picture."""


class Folder:
    """Where drawings of one base, with adapters, are put; nothing there is overwritten."""

    def __init__(self, path: Path, base: str, adapters: Sequence[Used] = ()) -> None:
        self._path = path
        self._made_by = made_by(base, [used.facts() for used in adapters])

    def add(self, frames: Sequence[Image.Image], request: Request) -> Left:
        """Write a picture as PNG, or a clip as MP4 and PNG, each whole or not at all.

        `request` is a complete one. Raises DiskFull, OutputUnwritable.
        """
        told = {**request_facts(request), **self._made_by}
        picture = self._next(f"seed{request.seed}.png")
        if len(frames) == 1:
            write_png(picture, frames[0], texts=told)
            return Left(picture)
        assert request.fps, "see `Generator.complete`"
        clip = picture.with_suffix(".mp4")
        try:
            write_png(picture, frames[0], texts=told)
            encode.write_mp4(clip, frames, request.fps, json.dumps(told, ensure_ascii=False))
        except BaseException:
            picture.unlink(missing_ok=True)
            raise
        return Left(clip, picture)

    def add_sheet(self, page: Image.Image) -> Path:
        """Write a contact sheet. Raises DiskFull, OutputUnwritable."""
        path = self._next("sheet.png")
        write_png(path, page, texts=self._made_by)
        return path

    def _next(self, name: str) -> Path:
        """Under the next free number."""
        taken = [
            int(path.name[:5])
            for path in self._path.glob("[0-9]" * 5 + "-*")
            if path.suffix in ENDINGS
        ]
        return self._path / f"{max(taken, default=0) + 1:05d}-{name}"


class ContactSheets:
    """Sheets of pictures, a row for several of one prompt, and of clips, a row for each."""

    def __init__(self, folder: Folder, title: str) -> None:
        self._folder, self._title = folder, title
        self._rows: list[list[Image.Image]] = []
        self._labels: list[str] = []
        self._columns: list[str] = []
        self._prompt = ""

    def add(self, frames: Sequence[Image.Image], request: Request) -> None:
        """Show a drawing; writes a sheet when it is full."""
        seed = f"seed {request.seed}"
        if len(frames) > 1:
            assert request.fps, "see `Generator.complete`"
            chosen = moments(len(frames))
            self._columns = [f"{number / request.fps:.2f} s" for number in chosen]
            self._begin([_small(frames[number]) for number in chosen], request.prompt, seed)
        elif self._prompt == request.prompt and self._rows and len(self._rows[-1]) < IN_A_ROW:
            self._rows[-1].append(_small(frames[0]))
        else:
            self._begin([_small(frames[0])], request.prompt, f"from {seed}")

    def close(self) -> None:
        """Write what has not been written yet."""
        if self._rows:
            self._folder.add_sheet(sheet(self._rows, self._labels, self._columns, self._title))
            self._rows, self._labels = [], []

    def _begin(self, row: list[Image.Image], prompt: str, seed: str) -> None:
        if len(self._rows) == ROWS:
            self.close()
        self._rows.append(row)
        self._labels.append(f"{seed}: {prompt}")
        self._prompt = prompt


def moments(frames: int) -> tuple[int, ...]:
    """The numbers of at most IN_A_ROW frames, the first and the last among them, evenly spaced."""
    shown = min(frames, IN_A_ROW)
    return tuple(round(n * (frames - 1) / max(shown - 1, 1)) for n in range(shown))


def _small(picture: Image.Image) -> Image.Image:
    """As large as a sheet shows it, at most."""
    copy = picture.copy()
    copy.thumbnail((512, 512))
    return copy


def made_by(base: str, adapters: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """What made a picture, as it stands in the file."""
    return {
        "base": base,
        "adapters": json.dumps(adapters, ensure_ascii=False),
        "software": f"Loraloom {loraloom.__version__}",
    }


def request_facts(request: Request) -> Mapping[str, str]:
    """The settings, as they stand in the file."""
    facts = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "steps": request.steps,
        "guidance": request.guidance,
        "clip_skip": request.clip_skip,
        **({"frames": request.frames, "fps": request.fps} if request.fps else {}),
    }
    return {name: str(value) for name, value in facts.items()}
