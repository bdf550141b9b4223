"""Objects and animals of the starter world, each about 60 units tall on a table or the ground."""

from __future__ import annotations

import random
from dataclasses import dataclass

import skia

from loraloom.starter.world.pen import INK, Colour, Pen, Point, darker, lighter, star
from loraloom.starter.world.scene import ANIMALS, COLOURS, Scene


@dataclass(frozen=True)
class Thing:
    """The frame of one object: centre on the canvas, scale, and its colour."""

    pen: Pen
    x: float
    y: float
    s: float
    colour: Colour

    def at(self, dx: float, dy: float) -> Point:
        return self.x + dx * self.s, self.y + dy * self.s

    def ellipse(
        self, dx: float, dy: float, rx: float, ry: float, colour: Colour, *, small: bool = False
    ) -> None:
        x, y = self.at(dx, dy)
        self.pen.ellipse(x, y, rx * self.s, ry * self.s, colour, small=small)

    def rect(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        colour: Colour,
        *,
        radius: float = 0,
        small: bool = False,
    ) -> None:
        self.pen.rect(
            *self.at(x0, y0), *self.at(x1, y1), colour, radius=radius * self.s, small=small
        )

    def shape(self, points: list[Point], colour: Colour, *, small: bool = False) -> None:
        self.pen.polygon([self.at(*p) for p in points], colour, small=small)

    def limb(self, points: list[Point], colour: Colour, width: float) -> None:
        self.pen.limb([self.at(*p) for p in points], colour, width * self.s)

    def line(self, points: list[Point], colour: Colour, width: float) -> None:
        self.pen.stroke([self.at(*p) for p in points], colour, width * self.s)


def draw_thing(pen: Pen, scene: Scene, rng: random.Random) -> None:
    name = scene["subject"]
    thing = Thing(
        pen,
        64 + rng.uniform(-8, 8),
        68 + rng.uniform(-3, 3),
        rng.uniform(0.92, 1.12),
        COLOURS[scene["colour"]],
    )
    if name not in (*ANIMALS, "car", "chair"):
        pen.rect(-4, thing.y + 29 * thing.s, 132, 134, (170, 118, 78))
        pen.rect(
            -4, thing.y + 29 * thing.s, 132, thing.y + 33 * thing.s, (196, 144, 100), small=True
        )
    else:
        pen.ellipse(
            thing.x,
            thing.y + 31 * thing.s,
            34 * thing.s,
            5 * thing.s,
            (92, 86, 92),
            small=True,
            alpha=120,
        )
    _DRAW[name](thing)
    _pattern(thing, scene["pattern"], name)


def _pattern(t: Thing, pattern: str, name: str) -> None:
    ink: Colour = (236, 64, 140)
    dy = 4 if name in ("mug", "teapot", "apple") else 0
    match pattern:
        case "stripes":
            for y in (-6, 4, 14):
                t.line([(-16, y + dy), (16, y + dy)], ink, 4)
        case "dots":
            for x, y in ((-10, -4), (8, -6), (-2, 6), (12, 8), (-13, 12)):
                t.ellipse(x, y + dy, 3.4, 3.4, ink, small=True)
        case "star emblem":
            t.pen.polygon(star(*t.at(0, 4 + dy), 13 * t.s), ink, small=True)
        case _:
            pass


def _mug(t: Thing) -> None:
    t.limb([(20, -6), (32, -4), (32, 14), (20, 18)], darker(t.colour, 0.15), 6)
    t.rect(-22, -18, 22, 30, t.colour, radius=6)
    t.ellipse(0, -18, 22, 6, darker(t.colour, 0.25))
    t.ellipse(0, -17, 18, 4, (92, 56, 38), small=True)


def _apple(t: Thing) -> None:
    t.limb([(0, -16), (3, -30)], (104, 70, 44), 4)
    t.ellipse(-10, 8, 19, 22, t.colour)
    t.ellipse(10, 8, 19, 22, t.colour)
    t.ellipse(0, 10, 18, 18, t.colour, small=True)
    t.ellipse(13, -24, 10, 5, (96, 170, 84))
    t.ellipse(-14, 0, 4, 7, lighter(t.colour, 0.5), small=True)


def _book(t: Thing) -> None:
    t.shape([(-30, 24), (-4, 30), (-4, -18), (-30, -24)], t.colour)
    t.shape([(-4, 30), (30, 24), (30, -24), (-4, -18)], darker(t.colour, 0.2))
    t.shape([(0, 26), (26, 21), (26, -20), (0, -14)], (250, 246, 230))
    for y in (-8, 0, 8, 16):
        t.line([(4, y), (22, y - 3.5)], (150, 148, 160), 1.6)
    t.shape([(-24, -10), (-10, -7), (-10, 4), (-24, 1)], lighter(t.colour, 0.5), small=True)


def _umbrella(t: Thing) -> None:
    t.limb([(0, -18), (0, 22), (6, 28), (12, 22)], (106, 74, 58), 3.6)
    dome = skia.Path()
    dome.addArc(skia.Rect(*t.at(-40, -38), *t.at(40, 38)), 180, 180)
    dome.close()
    t.pen.fill(dome, t.colour)
    for x in (-27, 0, 27):
        t.ellipse(x, 0, 13.4, 5, darker(t.colour, 0.22), small=True)
    t.limb([(0, -38), (0, -43)], (106, 74, 58), 3)


def _lamp(t: Thing) -> None:
    t.limb([(0, -8), (0, 26)], (120, 112, 120), 4)
    t.ellipse(0, 27, 16, 5, (120, 112, 120))
    t.ellipse(0, -6, 22, 8, (255, 240, 170), small=True)
    t.shape([(-14, -38), (14, -38), (27, -4), (-27, -4)], t.colour)


def _teapot(t: Thing) -> None:
    t.limb([(-20, 14), (-32, 4), (-38, -10)], darker(t.colour, 0.12), 8)
    t.limb([(22, -4), (37, -4), (36, 16), (22, 20)], darker(t.colour, 0.2), 5)
    t.ellipse(0, 8, 27, 22, t.colour)
    t.ellipse(0, -13, 14, 5, darker(t.colour, 0.25))
    t.ellipse(0, -20, 4.5, 4.5, darker(t.colour, 0.1))


def _chair(t: Thing) -> None:
    wood = darker(t.colour, 0.28)
    for x in (-20, 20):
        t.limb([(x, 4), (x, 30)], wood, 5)
    t.rect(-24, -40, 24, -6, t.colour, radius=5)
    for x in (-12, 0, 12):
        t.line([(x, -34), (x, -10)], wood, 2.4)
    t.rect(-27, -4, 27, 7, t.colour, radius=3)


def _car(t: Thing) -> None:
    t.shape([(-22, 2), (-14, -18), (14, -18), (26, 2)], t.colour)
    t.shape([(-16, 1), (-10, -13), (0, -13), (0, 1)], (188, 222, 240), small=True)
    t.shape([(4, 1), (4, -13), (12, -13), (19, 1)], (188, 222, 240), small=True)
    t.rect(-40, 0, 42, 22, t.colour, radius=7)
    t.ellipse(38, 8, 4, 4, (255, 238, 160), small=True)
    for x in (-22, 24):
        t.ellipse(x, 22, 10, 10, (44, 42, 50))
        t.ellipse(x, 22, 4, 4, (190, 190, 198), small=True)


def _cat(t: Thing) -> None:
    t.limb([(20, 24), (38, 18), (36, -8)], darker(t.colour, 0.1), 6)
    t.ellipse(0, 12, 22, 21, t.colour)
    for s in (-1, 1):
        t.ellipse(s * 10, 30, 8, 5, t.colour)
        t.shape([(s * 5, -30), (s * 22, -20), (s * 20, -44)], t.colour)
        t.shape([(s * 10, -31), (s * 19, -25), (s * 18, -38)], (244, 160, 170), small=True)
    t.ellipse(0, -18, 23, 18, t.colour)
    face = (240, 236, 220) if sum(t.colour) < 200 else INK
    for s in (-1, 1):
        t.ellipse(s * 9, -20, 4, 5, (120, 200, 90), small=True)
        t.ellipse(s * 9, -20, 1.6, 4.4, (20, 20, 20), small=True)
        for dy in (-2, 3):
            t.line([(s * 9, -10 + dy * 0.5), (s * 30, -11 + dy * 1.6)], face, 1.3)
    t.ellipse(0, -12, 3, 2.2, (240, 130, 140), small=True)


def _dog(t: Thing) -> None:
    t.limb([(22, 22), (36, 6)], darker(t.colour, 0.1), 8)
    t.ellipse(0, 12, 23, 21, t.colour)
    for s in (-1, 1):
        t.ellipse(s * 11, 30, 9, 5, t.colour)
    t.ellipse(0, -18, 21, 20, t.colour)
    for s in (-1, 1):
        t.ellipse(
            s * 22,
            -16,
            7,
            17,
            darker(t.colour, 0.35) if sum(t.colour) > 220 else lighter(t.colour, 0.25),
        )
        t.ellipse(s * 8, -23, 3.4, 4.2, INK if sum(t.colour) > 220 else (240, 236, 220), small=True)
    t.ellipse(0, -10, 12, 9, (250, 240, 224))
    t.ellipse(0, -15, 5, 3.6, INK, small=True)
    t.shape([(-4, -4), (4, -4), (3, 5), (-3, 5)], (236, 96, 110), small=True)


_DRAW = {
    "mug": _mug,
    "apple": _apple,
    "book": _book,
    "umbrella": _umbrella,
    "lamp": _lamp,
    "teapot": _teapot,
    "chair": _chair,
    "car": _car,
    "cat": _cat,
    "dog": _dog,
}
