"""Heads and faces: every expression and gaze is told by eyes, brows and mouth alone."""

from __future__ import annotations

import math

import skia

from loraloom.starter.world.figure import Figure
from loraloom.starter.world.pen import INK, Colour, Point, darker, star

DARK_SKIN = 380
"""Sum of red, green and blue; lips are lighter than such skin, so that a mouth stays readable."""


def draw_head(f: Figure) -> None:
    side = math.copysign(1, f.turn)
    if abs(f.turn) > 0.6:
        f.ellipse(f.at(side * 0.98, 0.16), 0.16, 0.13, f.skin)
    else:
        for ear in (-1, 1):
            if ear * f.turn <= 0:
                f.ellipse(f.at(ear * 0.98 - f.turn * 0.1, 0.1), 0.18, 0.22, darker(f.skin, 0.06))
    if f.man:
        jaw = skia.Path()
        jaw.addRoundRect(skia.Rect(*f.at(-0.92, -0.95), *f.at(0.92, 1.0)), 0.62 * f.r, 0.66 * f.r)
        f.pen.fill(jaw, f.skin)
    else:
        f.ellipse(f.at(0, 0), 0.95, 1.0, f.skin)
    if abs(f.turn) > 0.6:
        f.ellipse(f.at(side * 0.98, 0.16), 0.15, 0.12, f.skin, small=True)
        f.ellipse(f.at(-side * 0.1, 0.12), 0.15, 0.2, darker(f.skin, 0.14), small=True)


def eye_positions(f: Figure) -> list[Point]:
    side = math.copysign(1, f.turn)
    if abs(f.turn) > 0.6:
        return [f.at(side * 0.52, -0.06)]
    return [f.face(-0.42, -0.06), f.face(0.42, -0.06)]


def draw_face(f: Figure) -> None:
    expression, gaze = f.scene["expression"], f.scene["gaze"]
    profile = abs(f.turn) > 0.6
    side = math.copysign(1, f.turn)
    wide = 1.25 if expression == "surprised expression" else 1.0
    for x, y in eye_positions(f):
        _eye(f, (x, y), gaze, wide, side)
        _brow(f, (x, y), expression, 1 if x > f.face(0, 0)[0] else -1)
        if not f.man:
            f.ellipse(
                (x + 0.04 * f.r * side, y + 0.42 * f.r),
                0.2,
                0.11,
                (240, 120, 112),
                small=True,
                alpha=110,
            )
    nose = f.at(side * 0.9, 0.14) if profile else f.face(0.04 * side, 0.18)
    if not profile:
        f.ellipse(nose, 0.08, 0.1, darker(f.skin, 0.18), small=True)
    mouth = f.at(side * 0.62, 0.54) if profile else f.face(0, 0.54)
    _mouth(f, mouth, expression, 0.6 if profile else 1.0)
    if f.man:
        mx, my = mouth
        f.pen.stroke(
            [
                (mx - 0.26 * f.r, my - 0.14 * f.r),
                (mx, my - 0.26 * f.r),
                (mx + 0.26 * f.r, my - 0.14 * f.r),
            ],
            darker(f.hair, 0.25),
            0.11 * f.r,
        )


def _eye(f: Figure, at: Point, gaze: str, wide: float, side: float) -> None:
    x, y = at
    r = f.r
    if gaze == "eyes closed":
        f.pen.stroke([(x - 0.22 * r, y), (x, y + 0.18 * r), (x + 0.22 * r, y)], INK, 0.12 * r)
    else:
        f.ellipse(at, 0.24, 0.28 * wide, (255, 255, 255), small=True)
        shift = 0.15 * r * (side if f.turn else 1) if gaze == "looking away" else 0.0
        f.ellipse(
            (x + shift, y - (0.0 if gaze == "looking at viewer" else 0.02 * r)),
            0.14,
            0.185 * wide,
            INK,
            small=True,
        )
        if gaze == "looking at viewer":
            f.ellipse((x + 0.045 * r, y - 0.07 * r), 0.055, 0.055, (255, 255, 255), small=True)
    if not f.man:
        top = y - (0.27 * wide * r if gaze != "eyes closed" else -0.02 * r)
        f.pen.stroke(
            [(x - 0.22 * r, top + 0.1 * r), (x, top - 0.05 * r), (x + 0.22 * r, top + 0.1 * r)],
            INK,
            0.09 * r,
        )


def _brow(f: Figure, at: Point, expression: str, outer: int) -> None:
    x, y = at
    r = f.r
    lift, tilt = {
        "neutral expression": (0.45, 0.0),
        "gentle smile": (0.47, 0.04),
        "laughing": (0.52, 0.1),
        "surprised expression": (0.7, 0.06),
        "angry expression": (0.4, -0.4),
    }[expression]
    inner_y, outer_y = y - (lift + tilt / 2) * r, y - (lift - tilt / 2) * r
    f.pen.stroke(
        [(x - outer * 0.25 * r, inner_y), (x + outer * 0.26 * r, outer_y)],
        darker(f.hair, 0.3),
        (0.14 if f.man else 0.11) * r,
    )


def _mouth(f: Figure, at: Point, expression: str, width: float) -> None:
    x, y = at
    r, w = f.r, 0.36 * width * f.r
    lips: Colour = (150, 66, 58) if f.man else (200, 52, 66)
    if sum(f.skin) < DARK_SKIN:
        lips = (226, 132, 116) if f.man else (236, 92, 112)
    match expression:
        case "neutral expression":
            f.pen.stroke([(x - 0.7 * w, y), (x + 0.7 * w, y)], lips, 0.13 * r)
        case "gentle smile":
            f.pen.stroke(
                [(x - w, y - 0.1 * r), (x, y + 0.24 * r), (x + w, y - 0.1 * r)], lips, 0.13 * r
            )
        case "laughing":
            mouth = skia.Path()
            mouth.moveTo(x - 1.15 * w, y - 0.1 * r)
            mouth.cubicTo(x - w, y + 0.4 * r, x + w, y + 0.4 * r, x + 1.15 * w, y - 0.1 * r)
            mouth.close()
            f.pen.fill(mouth, (126, 26, 38), small=True)
            f.pen.stroke(
                [(x - 0.85 * w, y - 0.05 * r), (x + 0.85 * w, y - 0.05 * r)],
                (255, 255, 255),
                0.1 * r,
            )
        case "surprised expression":
            f.ellipse((x, y + 0.06 * r), 0.19 * width + 0.03, 0.26, (110, 24, 34), small=True)
        case _:
            f.pen.stroke(
                [(x - w, y + 0.2 * r), (x, y - 0.14 * r), (x + w, y + 0.2 * r)], lips, 0.14 * r
            )


def draw_mark(f: Figure) -> None:
    side = math.copysign(1, f.turn)
    cheek = (
        f.at(side * 0.42, 0.36)
        if abs(f.turn) > 0.6
        else f.face(0.56 if f.turn <= 0 else -0.54, 0.36)
    )
    x, y = cheek
    r = f.r
    match f.scene["mark"]:
        case "star mark":
            f.pen.polygon(star(x, y, 0.3 * r), (24, 214, 146), small=True)
        case "cheek stripes":
            for dy in (-0.15, 0.03, 0.21):
                f.pen.stroke(
                    [(x - 0.22 * r, y + dy * r), (x + 0.22 * r, y + (dy - 0.04) * r)],
                    (40, 110, 230),
                    0.11 * r,
                )
        case "heart mark":
            for dx in (-0.11, 0.11):
                f.ellipse((x + dx * r, y - 0.08 * r), 0.14, 0.14, (226, 36, 60), small=True)
            f.pen.polygon(
                [(x - 0.24 * r, y - 0.03 * r), (x + 0.24 * r, y - 0.03 * r), (x, y + 0.28 * r)],
                (226, 36, 60),
                small=True,
            )
        case _:
            pass
