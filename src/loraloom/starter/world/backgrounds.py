"""The places behind a subject."""

from __future__ import annotations

import random

import skia

from loraloom.starter.world.pen import Colour, Pen


def draw_background(pen: Pen, name: str, rng: random.Random) -> None:
    """Fill the canvas with the named place; `rng` moves its furniture about."""
    _DRAW[name](pen, rng)


def _plain(pen: Pen, colour: Colour) -> None:
    pen.rect(-4, -4, 132, 132, colour, small=True)


def _gradient(pen: Pen, top: Colour, bottom: Colour) -> None:
    a, b = (skia.ColorSetRGB(*pen.tone(c)) for c in (top, bottom))
    shader = skia.GradientShader.MakeLinear([skia.Point(0, 0), skia.Point(0, 128)], [a, b])
    pen.canvas.drawPaint(skia.Paint(Shader=shader))


def _white(pen: Pen, rng: random.Random) -> None:
    _plain(pen, (252, 251, 249))


def _gray(pen: Pen, rng: random.Random) -> None:
    _plain(pen, (158, 160, 166))


def _colours(pen: Pen, rng: random.Random) -> None:
    _gradient(pen, (250, 186, 172), (146, 134, 222))


def _park(pen: Pen, rng: random.Random) -> None:
    _plain(pen, (176, 222, 240))
    horizon = rng.uniform(70, 80)
    pen.ellipse(rng.uniform(10, 118), horizon + 16, 80, 30, (128, 190, 108), small=True)
    pen.rect(-4, horizon, 132, 134, (108, 178, 92), small=True)
    for x in (rng.uniform(4, 24), rng.uniform(104, 124)):
        pen.rect(x - 3, 44, x + 3, horizon + 6, (124, 84, 54), radius=1)
        pen.ellipse(x, 34, 17, 20, (62, 138, 74))
    for _ in range(5):
        pen.ellipse(
            rng.uniform(4, 124), rng.uniform(92, 122), 1.8, 1.8, (252, 226, 120), small=True
        )


def _beach(pen: Pen, rng: random.Random) -> None:
    _plain(pen, (160, 220, 250))
    horizon = rng.uniform(50, 60)
    pen.ellipse(rng.choice((18, 108)), 20, 10, 10, (255, 232, 130), small=True)
    pen.rect(-4, horizon, 132, horizon + 36, (44, 150, 196), small=True)
    for y in (horizon + 9, horizon + 19):
        x = rng.uniform(0, 24)
        pen.stroke([(x, y), (x + 34, y)], (160, 216, 236), 1.6)
        pen.stroke([(x + 58, y + 3), (x + 92, y + 3)], (160, 216, 236), 1.6)
    pen.ellipse(64, 140, 104, 140 - horizon - 32, (244, 218, 160), small=True)


def _street(pen: Pen, rng: random.Random) -> None:
    _plain(pen, (206, 218, 226))
    x = rng.uniform(-14, -4)
    for colour in (
        (190, 112, 92),
        (222, 186, 140),
        (150, 138, 150),
        (204, 142, 104),
        (178, 170, 160),
    ):
        width = rng.uniform(26, 34)
        top = rng.uniform(14, 34)
        pen.rect(x, top, x + width, 104, colour)
        for row in range(3):
            for column in range(2):
                wx = x + 5 + column * width * 0.46
                wy = top + 8 + row * 19
                pen.rect(wx, wy, wx + 7, wy + 10, (240, 236, 214), small=True)
        x += width
    pen.rect(-4, 100, 132, 134, (112, 114, 122), small=True)
    pen.stroke([(8, 114), (44, 114)], (240, 238, 226), 2)
    pen.stroke([(72, 114), (108, 114)], (240, 238, 226), 2)


def _bedroom(pen: Pen, rng: random.Random) -> None:
    _plain(pen, (236, 214, 202))
    pen.rect(-4, 98, 132, 134, (182, 132, 92), small=True)
    wx = rng.choice((8, 84))
    pen.rect(wx, 14, wx + 36, 56, (250, 248, 240))
    pen.rect(wx + 3, 17, wx + 33, 53, (174, 212, 240), small=True)
    pen.stroke([(wx + 18, 17), (wx + 18, 53)], (250, 248, 240), 2)
    pen.stroke([(wx + 3, 35), (wx + 33, 35)], (250, 248, 240), 2)
    bx = 70 if wx < 40 else -16
    pen.rect(bx, 62, bx + 76, 84, (150, 104, 72), radius=4)
    pen.rect(bx + 4, 70, bx + 30, 84, (252, 250, 246), radius=5)
    pen.rect(bx, 80, bx + 76, 110, (128, 142, 196), radius=4)


def _night(pen: Pen, rng: random.Random) -> None:
    _gradient(pen, (18, 20, 52), (62, 52, 108))
    pen.ellipse(rng.choice((18, 110)), 16, 8, 8, (246, 240, 206), small=True)
    x = -6.0
    while x < 130:
        width, top = rng.uniform(17, 26), rng.uniform(36, 66)
        pen.rect(x, top, x + width, 134, (28, 28, 60), small=True)
        for wy in range(int(top) + 6, 112, 12):
            for wx in (x + 4, x + width - 8):
                if rng.random() < 0.7:
                    pen.rect(wx, wy, wx + 4.5, wy + 6, (250, 206, 104), small=True)
        x += width + 1


_DRAW = {
    "white background": _white,
    "gray background": _gray,
    "gradient background": _colours,
    "park background": _park,
    "beach": _beach,
    "city street": _street,
    "bedroom": _bedroom,
    "night city": _night,
}
