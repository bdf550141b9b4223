"""Bodies, garments, arms and accessories."""

from __future__ import annotations

import math

import skia

from loraloom.starter.world.face import eye_positions
from loraloom.starter.world.figure import Figure
from loraloom.starter.world.pen import Colour, Point, darker, lighter
from loraloom.starter.world.scene import COLOURS


def draw_body(f: Figure) -> None:
    colour = COLOURS[f.scene["garment_colour"]]
    s = f.shoulders
    if f.scene["framing"] == "full body":
        legs: Colour = (66, 74, 108)
        for side in (-1, 1):
            if f.man:
                f.pen.limb([f.at(side * 0.36, 2.6), f.at(side * 0.4, 4.5)], legs, 0.62 * f.r)
            else:
                f.pen.limb([f.at(side * 0.32, 3.2), f.at(side * 0.34, 4.5)], f.skin, 0.4 * f.r)
            f.ellipse(f.at(side * 0.42 + f.turn * 0.2, 4.78), 0.44, 0.26, (84, 58, 50))
        if not f.man:
            f.shape([(-0.62, 2.5), (0.62, 2.5), (1.05, 3.75), (-1.05, 3.75)], legs)
    f.pen.limb([f.at(0, 0.8), f.at(0, 1.3)], darker(f.skin, 0.1), 0.58 * f.r)
    torso = skia.Path()
    torso.moveTo(*f.at(-0.42 * s, 1.12))
    torso.quadTo(*f.at(-s * 1.08, 1.2), *f.at(-s * 1.08, 1.85))
    waist = 0.98 if f.man else 0.74
    torso.lineTo(*f.at(-s * waist, 2.95))
    torso.lineTo(*f.at(s * waist, 2.95))
    torso.lineTo(*f.at(s * 1.08, 1.85))
    torso.quadTo(*f.at(s * 1.08, 1.2), *f.at(0.42 * s, 1.12))
    torso.close()
    f.pen.fill(torso, colour)
    _garment(f, colour, s)


def _garment(f: Figure, colour: Colour, s: float) -> None:
    trim = darker(colour, 0.32) if sum(colour) > 220 else lighter(colour, 0.3)
    middle = f.turn * 0.4
    match f.scene["garment"]:
        case "t-shirt":
            f.ellipse(f.at(middle, 1.14), 0.42, 0.26, darker(f.skin, 0.06))
        case "hoodie":
            f.ellipse(f.at(middle * 0.5, 1.16), 0.82, 0.34, trim)
            f.ellipse(f.at(middle, 1.08), 0.42, 0.22, darker(f.skin, 0.1), small=True)
            for side in (-0.2, 0.2):
                f.line([(middle + side, 1.42), (middle + side, 1.86)], (250, 248, 240), 0.09)
            f.shape(
                [
                    (middle - 0.44, 2.2),
                    (middle + 0.44, 2.2),
                    (middle + 0.58, 2.72),
                    (middle - 0.58, 2.72),
                ],
                trim,
            )
        case "button-up shirt":
            f.line([(middle, 1.3), (middle, 2.9)], trim, 0.07)
            for y in (1.62, 1.98, 2.34, 2.7):
                f.ellipse(f.at(middle, y), 0.085, 0.085, trim, small=True)
            for side in (-1, 1):
                f.shape(
                    [(middle, 1.34), (middle + side * 0.5, 1.06), (middle + side * 0.52, 1.52)],
                    lighter(colour, 0.5),
                )
        case "striped sweater":
            for y in (1.5, 1.94, 2.38, 2.8):
                width = s * (0.98 if y < 2 else 0.84)
                f.line(
                    [(-width, y), (width, y)],
                    (250, 246, 236) if colour != COLOURS["white"] else (70, 74, 110),
                    0.17,
                )
            f.pen.limb([f.at(middle - 0.32, 1.12), f.at(middle + 0.32, 1.12)], colour, 0.36 * f.r)
        case "suit jacket":
            f.shape([(middle - 0.36, 1.1), (middle + 0.36, 1.1), (middle, 2.3)], (250, 248, 244))
            f.shape(
                [
                    (middle - 0.13, 1.24),
                    (middle + 0.13, 1.24),
                    (middle + 0.1, 2.05),
                    (middle - 0.1, 2.05),
                ],
                (150, 40, 60),
                small=True,
            )
            for side in (-1, 1):
                f.shape(
                    [
                        (middle + side * 0.3, 1.06),
                        (middle + side * 0.74, 1.3),
                        (middle + side * 0.5, 1.66),
                        (middle, 2.34),
                    ],
                    trim,
                )


def draw_arms(f: Figure) -> None:
    colour = COLOURS[f.scene["garment_colour"]]
    s, r = f.shoulders, f.r
    arm = 0.46 * r

    def draw(points: list[Point], *, bare: bool) -> None:
        placed = [f.at(*p) for p in points]
        f.ellipse((placed[-1][0], placed[-1][1]), 0.27, 0.27, f.skin)
        if bare:
            f.pen.limb([placed[-2], placed[-1]], f.skin, arm * 0.8)
            f.ellipse((placed[-1][0], placed[-1][1]), 0.27, 0.27, f.skin, small=True)
        f.pen.limb(
            placed[:-1] if bare else [*placed[:-1], _toward(placed[-2], placed[-1], 0.75)],
            colour,
            arm,
        )

    bare = f.scene["garment"] == "t-shirt"
    if f.scene["framing"] == "close-up":
        return
    match f.scene["gesture"]:
        case "waving hand":
            draw([(s, 1.6), (s * 1.5, 1.95), (s * 1.62, 0.55)], bare=bare)
            draw([(-s, 1.6), (-s * 1.22, 2.2), (-s * 1.15, 2.85)], bare=bare)
        case "arms raised":
            for side in (-1, 1):
                draw(
                    [(side * s, 1.6), (side * (s + 0.5), 0.9), (side * (s + 0.42), -0.45)],
                    bare=bare,
                )
        case "hands on hips":
            for side in (-1, 1):
                draw([(side * s, 1.6), (side * (s + 0.72), 2.15), (side * 0.8, 2.62)], bare=bare)
        case _:
            for side in (-1, 1):
                draw([(side * s, 1.6), (side * s * 1.16, 2.2), (side * s * 1.1, 2.85)], bare=bare)


def _toward(a: Point, b: Point, share: float) -> Point:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def draw_accessory(f: Figure) -> None:
    side = math.copysign(1, f.turn)
    eyes = eye_positions(f)
    match f.scene["accessory"]:
        case "glasses":
            for x, y in eyes:
                ring = [
                    (
                        x + 0.36 * f.r * math.cos(t * math.pi / 12),
                        y + 0.36 * f.r * math.sin(t * math.pi / 12),
                    )
                    for t in range(25)
                ]
                f.pen.stroke([*ring[:-1], ring[0]], (40, 36, 60), 0.085 * f.r)
            _glasses_bridge(f, eyes, side)
        case "sunglasses":
            for x, y in eyes:
                f.ellipse((x, y), 0.38, 0.33, (26, 24, 34), small=True)
                f.pen.stroke(
                    [(x - 0.16 * f.r, y - 0.12 * f.r), (x + 0.04 * f.r, y - 0.18 * f.r)],
                    (150, 150, 176),
                    0.07 * f.r,
                )
            _glasses_bridge(f, eyes, side)
        case "scarf":
            f.pen.limb(
                [f.at(-0.56, 1.12), f.at(0, 1.24), f.at(0.56, 1.12)], (226, 112, 44), 0.44 * f.r
            )
            f.pen.limb([f.at(0.4, 1.3), f.at(0.46, 2.0)], (206, 92, 32), 0.34 * f.r)
        case "headphones":
            arc = [
                (
                    f.x + 1.12 * f.r * math.cos(t * math.pi / 12),
                    f.y - 1.16 * f.r * math.sin(t * math.pi / 12),
                )
                for t in range(13)
            ]
            f.pen.stroke(arc, (70, 66, 92), 0.14 * f.r)
            cups = [-1, 1] if abs(f.turn) <= 0.6 else [-side * 0.12]
            for x in cups:
                f.ellipse(f.at(x * 1.06, 0.08), 0.26, 0.36, (236, 86, 116))
        case "hat":
            f.ellipse(f.at(side * abs(f.turn) * 0.3, -0.52), 1.42, 0.24, (206, 168, 96))
            crown = skia.Path()
            crown.addRoundRect(
                skia.Rect(*f.at(-0.86, -1.36), *f.at(0.86, -0.5)), 0.4 * f.r, 0.4 * f.r
            )
            f.pen.fill(crown, (222, 186, 112))
            f.line([(-0.84, -0.68), (0.84, -0.68)], (150, 62, 58), 0.2)
        case _:
            pass


def _glasses_bridge(f: Figure, eyes: list[Point], side: float) -> None:
    if len(eyes) == 2:
        (x0, y0), (x1, y1) = eyes
        f.pen.stroke([(x0 + 0.32 * f.r, y0), (x1 - 0.32 * f.r, y1)], (40, 36, 60), 0.085 * f.r)
    else:
        x, y = eyes[0]
        f.pen.stroke(
            [(x - side * 0.34 * f.r, y), f.at(-side * 0.2, 0.0)], (40, 36, 60), 0.085 * f.r
        )
