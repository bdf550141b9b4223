"""Measures of pictures, kept by the SHA-256 of their bytes, so that a second check is instant."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from loraloom.dataset.readiness.check import Progress
from loraloom.dataset.readiness.exposure import Exposure
from loraloom.dataset.readiness.listing import Picture
from loraloom.dataset.readiness.picture import THUMB_PX, Measures, Wanted
from loraloom.dataset.readiness.reading import Answer, measure_all
from loraloom.files import telling_failures

FORMAT = 1
"""Raised when the same picture would be measured otherwise; what older versions kept is left."""


class KeptMeasures:
    """A folder of measures; each picture's file is called by its hash, as objects are."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(
        self, pictures: Sequence[Picture], wanted: Wanted, progress: Progress | None
    ) -> list[Answer]:
        """What is kept, and what is then measured; see readiness.check.Measure."""
        answers: dict[Path, Answer] = {}
        for picture in pictures:
            if found := self._read(picture.path.name, wanted):
                answers[picture.path] = found
        missing = list(dict.fromkeys(p.path for p in pictures if p.path not in answers))
        for path, answer in zip(missing, measure_all(missing, wanted), strict=True):
            answers[path] = answer
            if isinstance(answer, Measures):
                self._write(answer, path.name, wanted)
            if progress:
                progress("Reading pictures", len(answers), len(pictures))
        return [answers[picture.path] for picture in pictures]

    def _place(self, sha256: str, wanted: Wanted) -> Path:
        how = f"{FORMAT}-{wanted.native_px}-{'faces' if wanted.count_faces else 'plain'}"
        return self._root / sha256[:2] / f"{sha256}-{how}"

    def _read(self, sha256: str, wanted: Wanted) -> Measures | None:
        try:
            head, _, body = self._place(sha256, wanted).read_bytes().partition(b"\n")
            told = json.loads(head)
            thumb = np.frombuffer(zlib.decompress(body), np.uint8).reshape(THUMB_PX, THUMB_PX, 4)
            told["exposure"] = Exposure(**told["exposure"])
            told["tint"] = tuple(told["tint"])
            return Measures(**told, thumb=thumb)
        except (OSError, ValueError, TypeError, KeyError, zlib.error):
            return None

    def _write(self, found: Measures, sha256: str, wanted: Wanted) -> None:
        place = self._place(sha256, wanted)
        told = {**vars(found), "exposure": asdict(found.exposure)}
        del told["thumb"]
        head = json.dumps(told, default=float).encode()
        with telling_failures(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = place.with_name(f".{place.name}.tmp")
            beside.write_bytes(head + b"\n" + zlib.compress(found.thumb.tobytes(), 1))
            beside.replace(place)
