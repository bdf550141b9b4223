"""What a picture was said to show, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from loraloom.captions.rules import Style

LEAST_SHARE = 0.05
"""Tags less sure are forgotten at once; no threshold is lower."""
Seen = tuple[Image.Image, ...]
"""What one caption is about: a picture (mode RGB), or frames of a clip in their order."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag, in words, and how sure it is (0..1)."""

    name: str
    share: float
    names: bool = False
    """It is the name of a character."""


@dataclass(frozen=True)
class Answer:
    """Tags in the tagger's own order, or a text; one of them is empty."""

    tags: tuple[Tag, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Failure:
    """Why one picture got no answer, in a sentence."""

    reason: str


class Captioner(Protocol):
    """Says what pictures show."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def fingerprint(self) -> str:
        """Changes with all that changes its answers."""

    @property
    def style(self) -> Style:
        """How its answers are written."""

    @property
    def batch(self) -> int:
        """How many pictures or clips it takes at once."""

    @property
    def frames(self) -> int:
        """How many frames of a clip it looks at."""

    def describe(self, seen: Sequence[Seen]) -> Sequence[Answer | Failure]:
        """One answer each. Raises LoraloomError where no picture would get one."""
