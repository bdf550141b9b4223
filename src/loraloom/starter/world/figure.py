"""The frame that every part of one person is drawn in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loraloom.starter.world.pen import Colour, Pen, Point
from loraloom.starter.world.scene import HAIR_COLOURS, HELD_OUT_COLOURS, SKINS, Scene


@dataclass(frozen=True)
class Figure:
    """The frame that all parts of one person are drawn in; lengths are multiples of `r`."""

    pen: Pen
    scene: Scene
    x: float
    y: float
    r: float
    turn: float
    """0 front, 0.36 three quarter, 0.86 profile; the sign is the side faced."""

    @property
    def man(self) -> bool:
        return self.scene["subject"] == "man"

    @property
    def skin(self) -> Colour:
        return SKINS[self.scene["skin"]]

    @property
    def hair(self) -> Colour:
        return (HAIR_COLOURS | HELD_OUT_COLOURS)[self.scene["hair_colour"]]

    @property
    def shoulders(self) -> float:
        return (1.22 if self.man else 1.0) * (0.72 if abs(self.turn) > 0.6 else 1.0)

    def at(self, dx: float, dy: float) -> Point:
        return self.x + dx * self.r, self.y + dy * self.r

    def face(self, dx: float, dy: float) -> Point:
        """A point of the face: it slides to the side faced."""
        squeeze = math.sqrt(1 - min(abs(self.turn), 0.9) ** 2)
        return self.at(dx * squeeze + self.turn * 0.78, dy)

    def ellipse(
        self,
        at: Point,
        rx: float,
        ry: float,
        colour: Colour,
        *,
        small: bool = False,
        alpha: int = 255,
    ) -> None:
        self.pen.ellipse(at[0], at[1], rx * self.r, ry * self.r, colour, small=small, alpha=alpha)

    def shape(self, points: list[Point], colour: Colour, *, small: bool = False) -> None:
        self.pen.polygon([self.at(*p) for p in points], colour, small=small)

    def line(self, points: list[Point], colour: Colour, width: float) -> None:
        self.pen.stroke([self.at(*p) for p in points], colour, width * self.r)
