"""What is to be done to a set, as it was asked for."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from loraloom.dataset.prepare.target import Target
from loraloom.errors import ConfigInvalid

LEAST_FPS, MOST_FPS = 1, 60
MOST_MARGIN = 5.0
SECONDS = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)-(\d{1,3}(?:\.\d{1,3})?)")

MaskWay = Literal["", "alpha", "grabcut", "folder"]
Share = tuple[float, float, float, float]
"""Left, top, width, height as shares of the picture's sides."""


@dataclass(frozen=True)
class Plan:
    """Everything that `prepare` can do; what is not asked for is off."""

    face: bool = False
    """Cut pictures to the face."""
    face_margin: float = 0.8
    """Around the face, in its widths."""
    masks: MaskWay = ""
    mask_folder: Path | None = None
    box: Share | None = None
    """Where the subject is, in place of a face, for GrabCut."""
    upscale: Path | None = None
    """A model that enlarges."""
    png: bool = False
    fit: bool = False
    preview: bool = False
    clip_seconds: tuple[float, float] | None = None
    fps: int | None = None
    frames: bool = False
    """Write clips as pictures, one a frame."""

    def check(self) -> None:
        """Raise ConfigInvalid where the wishes do not go together."""
        if not any((self.face, self.masks, self.upscale, self.png, self.fit, self.preview,
                    self.clip_seconds, self.fps, self.frames)):  # fmt: skip
            raise ConfigInvalid(
                "Nothing is asked for: choose from --crop, --masks, --upscale, --png, --fit, "
                "--preview, --clip-seconds, --fps, --frames."
            )
        if not 0 <= self.face_margin <= MOST_MARGIN:
            raise ConfigInvalid(
                f"--face-margin {self.face_margin:g} is not possible: 0 to {MOST_MARGIN:g} are, in "
                "widths of the face."
            )
        if self.box and self.masks != "grabcut":
            raise ConfigInvalid("--box says where GrabCut looks; it goes with --masks grabcut.")
        if self.fps is not None and not LEAST_FPS <= self.fps <= MOST_FPS:
            raise ConfigInvalid(
                f"--fps {self.fps} is not possible: {LEAST_FPS} to {MOST_FPS} are; 24 and 30 are "
                "usual."
            )

    def digest(self, target: Target, model: str) -> str:
        """What the outcome depends on, besides the pictures; `model`: the upscaler's SHA-256."""
        wishes = {key: value for key, value in asdict(self).items() if key != "upscale"}
        text = json.dumps([wishes, asdict(target), model], default=str, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, object]:
        """What was asked for, without what was not."""
        return {key: str(value) if isinstance(value, Path) else value
                for key, value in asdict(self).items()
                if value and (self.face or key != "face_margin")}  # fmt: skip


def parse_seconds(text: str) -> tuple[float, float]:
    """ "2-5" as the shortest and the longest. Raises ConfigInvalid."""
    found = SECONDS.fullmatch(text.strip())
    shortest, longest = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    if not 0 < shortest <= longest:
        raise ConfigInvalid(
            f"--clip-seconds {text!r} is not possible: give the shortest and the longest, as in "
            "2-5."
        )
    return shortest, longest


def parse_box(text: str) -> Share:
    """ "0.2,0.1,0.6,0.9" as shares of the sides. Raises ConfigInvalid."""
    try:
        left, top, width, height = (float(part) for part in text.split(","))
    except ValueError:
        left = top = width = height = math.nan
    fits = left >= 0 and top >= 0 and width > 0 and height > 0 and left + width <= 1.0001
    if not (fits and top + height <= 1.0001):
        raise ConfigInvalid(
            f"--box {text!r} is not possible: give left, top, width and height as shares of the "
            "picture's sides, as in 0.2,0.1,0.6,0.9."
        )
    return left, top, width, height


def parse_masks(text: str) -> tuple[MaskWay, Path | None]:
    """ "alpha", "grabcut" or a folder. Raises ConfigInvalid."""
    if text in ("alpha", "grabcut"):
        return ("alpha" if text == "alpha" else "grabcut"), None
    if not Path(text).is_dir():
        raise ConfigInvalid(
            f"--masks {text!r} is not possible: alpha, grabcut or a folder that holds masks is."
        )
    return "folder", Path(text)
