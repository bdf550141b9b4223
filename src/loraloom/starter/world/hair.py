"""Hair, behind and in front of the head, and what grows out of it."""

from __future__ import annotations

import math

import skia

from loraloom.starter.world.figure import Figure
from loraloom.starter.world.pen import darker


def draw_hair_back(f: Figure) -> None:
    style, hair = f.scene["hair_style"], darker(f.hair, 0.12)
    side = math.copysign(1, f.turn)
    back = -side * (0.3 if f.turn else 0.0) * (2 if abs(f.turn) > 0.6 else 1)
    match style:
        case "long hair":
            f.pen.rect(
                *f.at(-1.12 + back * 0.6, -0.5),
                *f.at(1.12 + back * 0.6, 1.9),
                hair,
                radius=0.6 * f.r,
            )
        case "ponytail":
            x = -side * 1.1 if f.turn else 1.08
            f.pen.limb(
                [f.at(x * 0.8, -0.6), f.at(x * 1.22, -0.1), f.at(x * 1.15, 1.15)], hair, 0.52 * f.r
            )
        case "bun":
            f.ellipse(f.at(back, -1.28), 0.44, 0.4, hair)
        case "curly hair":
            for k in range(9):
                angle = math.pi * (0.92 + 1.16 * k / 8)
                f.ellipse(
                    f.at(1.08 * math.cos(angle) + back * 0.4, 1.0 * math.sin(angle) + 0.1),
                    0.4,
                    0.4,
                    hair,
                )
        case "twin buns":
            for x in (-0.78, 0.78):
                f.ellipse(f.at(x + back * 0.5, -1.02), 0.42, 0.42, hair)
        case _:
            pass


def draw_hair_front(f: Figure) -> None:
    style, hair = f.scene["hair_style"], f.hair
    side = math.copysign(1, f.turn)
    if style == "mohawk":
        base = -side * 0.2 if f.turn else 0.0
        crest = [
            (base - 0.3, -0.62),
            (base - 0.4, -1.5),
            (base - 0.1, -1.28),
            (base, -1.75),
            (base + 0.1, -1.28),
            (base + 0.4, -1.5),
            (base + 0.3, -0.62),
        ]
        f.shape(crest, hair)
        return
    cap = skia.Path()
    lift = 0.95 if style == "short hair" else 1.0
    cap.addOval(skia.Rect(*f.at(-1.06, -1.12 * lift), *f.at(1.06, 0.9)))
    hole = skia.Path()
    if abs(f.turn) > 0.6:
        x0, x1 = sorted((side * -0.02, side * 1.6))
        hole.addRoundRect(skia.Rect(*f.at(x0, -0.5), *f.at(x1, 1.6)), 0.42 * f.r, 0.42 * f.r)
        low = skia.Path().addRect(
            skia.Rect(*f.at(-1.6, 0.14 if style == "short hair" else 0.5), *f.at(1.6, 1.8))
        )
        hole = skia.Op(hole, low, skia.PathOp.kUnion_PathOp)
    else:
        hole.addOval(skia.Rect(*f.at(-0.8 + f.turn * 0.5, -0.44), *f.at(0.8 + f.turn * 0.5, 1.7)))
        low = skia.Path().addRect(
            skia.Rect(*f.at(-1.6, -0.06 if style == "short hair" else 0.3), *f.at(1.6, 1.8))
        )
        hole = skia.Op(hole, low, skia.PathOp.kUnion_PathOp)
    f.pen.fill(skia.Op(cap, hole, skia.PathOp.kDifference_PathOp), hair)
    if style == "curly hair":
        for k in range(5):
            f.ellipse(
                f.at(-0.8 + 0.4 * k, -0.82 - 0.14 * math.sin(math.pi * k / 4)), 0.3, 0.26, hair
            )
    elif style == "short hair" and not f.turn:
        f.shape([(-0.5, -0.62), (0.1, -0.62), (-0.35, -0.28)], hair, small=True)
    if style == "long hair" and abs(f.turn) <= 0.6:
        for x in (-1, 1):
            f.pen.limb([f.at(x * 0.98, -0.1), f.at(x * 1.02, 1.3)], hair, 0.3 * f.r)


def draw_headpiece(f: Figure) -> None:
    match f.scene["headpiece"]:
        case "horns":
            for s in (-1, 1):
                f.shape([(s * 0.3, -0.86), (s * 0.62, -0.7), (s * 0.74, -1.5)], (206, 32, 62))
        case "cat ears":
            for s in (-1, 1):
                f.shape([(s * 0.2, -0.86), (s * 0.92, -0.5), (s * 0.82, -1.4)], f.hair)
                f.shape(
                    [(s * 0.42, -0.84), (s * 0.78, -0.64), (s * 0.74, -1.14)],
                    (250, 180, 190),
                    small=True,
                )
        case "antennae":
            for s in (-1, 1):
                f.line([(s * 0.34, -0.82), (s * 0.5, -1.2), (s * 0.74, -1.44)], (70, 60, 90), 0.09)
                f.ellipse(f.at(s * 0.76, -1.48), 0.15, 0.15, (250, 214, 70), small=True)
        case _:
            pass
