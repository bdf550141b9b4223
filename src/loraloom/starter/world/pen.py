"""A pen that draws shapes in one of the world's drawing styles."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import skia

Colour = tuple[int, int, int]
Point = tuple[float, float]
INK: Colour = (34, 30, 40)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Colour `a` with `share` (0..1) of `b`."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def darker(colour: Colour, share: float = 0.2) -> Colour:
    return mix(colour, (20, 14, 36), share)


def lighter(colour: Colour, share: float = 0.3) -> Colour:
    return mix(colour, (255, 255, 255), share)


def star(x: float, y: float, radius: float) -> list[Point]:
    """Ten points of a five-pointed star."""
    return [
        (
            x + math.sin(k * math.pi / 5) * radius * (1 if k % 2 == 0 else 0.45),
            y - math.cos(k * math.pi / 5) * radius * (1 if k % 2 == 0 else 0.45),
        )
        for k in range(10)
    ]


class Pen:
    """Fills and strokes on a 128 × 128 canvas; the style decides outline, shadow and wobble."""

    def __init__(self, canvas: skia.Canvas, style: str, rng: random.Random) -> None:
        self.canvas = canvas
        self.style = style
        self._seed = rng.getrandbits(16)
        self._shadow = skia.ImageFilters.DropShadow(
            1.2, 1.6, 1.0, 1.0, skia.ColorSetARGB(120, 20, 16, 40)
        )

    def tone(self, colour: Colour) -> Colour:
        """The colour as this style mixes it."""
        match self.style:
            case "watercolor style":
                return mix(lighter(colour, 0.2), (250, 240, 224), 0.08)
            case "paper cutout style":
                return mix(colour, (214, 196, 172), 0.16)
            case "blueprint style":
                grey = (colour[0] * 3 + colour[1] * 6 + colour[2]) / 10 / 255
                return mix((16, 52, 128), (70, 124, 214), grey)
            case "stained glass style":
                peak = max(max(colour), 1)
                return mix(
                    colour,
                    (colour[0] * 255 // peak, colour[1] * 255 // peak, colour[2] * 255 // peak),
                    0.5,
                )
            case _:
                return colour

    def _paint(self, colour: Colour, alpha: int, *, small: bool) -> skia.Paint:
        r, g, b = self.tone(colour)
        paint = skia.Paint(AntiAlias=True, Color=skia.ColorSetARGB(alpha, r, g, b))
        if self.style == "watercolor style" and not small:
            paint.setPathEffect(skia.DiscretePathEffect.Make(7.0, 1.1, self._seed))
        return paint

    def fill(
        self, path: skia.Path, colour: Colour, *, small: bool = False, alpha: int = 255
    ) -> None:
        """Fill a path; `small` details (eyes, buttons) get no outline or shadow."""
        paint = self._paint(colour, alpha, small=small)
        if self.style == "paper cutout style" and not small:
            paint.setImageFilter(self._shadow)
        self.canvas.drawPath(path, paint)
        if small:
            return
        if self.style == "watercolor style":
            self._outline(path, self.tone(darker(colour, 0.35)), 0.8, alpha=120)
        elif self.style == "comic style":
            self._outline(path, INK, 1.7)
        elif self.style == "blueprint style":
            self._outline(path, (232, 242, 255), 1.1)
        elif self.style == "stained glass style":
            self._outline(path, (22, 20, 26), 2.6)

    def _outline(self, path: skia.Path, colour: Colour, width: float, alpha: int = 255) -> None:
        paint = skia.Paint(
            AntiAlias=True,
            Style=skia.Paint.kStroke_Style,
            StrokeWidth=width,
            StrokeJoin=skia.Paint.kRound_Join,
            Color=skia.ColorSetARGB(alpha, *colour),
        )
        if self.style == "watercolor style":
            paint.setPathEffect(skia.DiscretePathEffect.Make(7.0, 1.1, self._seed))
        self.canvas.drawPath(path, paint)

    def stroke(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A round-ended line through the points (curved through the middle one of three)."""
        r, g, b = (232, 242, 255) if self.style == "blueprint style" else self.tone(colour)
        paint = skia.Paint(
            AntiAlias=True,
            Style=skia.Paint.kStroke_Style,
            StrokeWidth=width,
            StrokeCap=skia.Paint.kRound_Cap,
            StrokeJoin=skia.Paint.kRound_Join,
            Color=skia.ColorSetARGB(255, r, g, b),
        )
        path = skia.Path()
        path.moveTo(*points[0])
        if len(points) == 3:
            path.quadTo(*points[1], *points[2])
        else:
            for point in points[1:]:
                path.lineTo(*point)
        self.canvas.drawPath(path, paint)

    def limb(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """A thick round-ended line with the style's outline: an arm, a leg."""
        line = skia.Path()
        line.moveTo(*points[0])
        for point in points[1:]:
            line.lineTo(*point)
        paint = skia.Paint(
            Style=skia.Paint.kStroke_Style,
            StrokeWidth=width,
            StrokeCap=skia.Paint.kRound_Cap,
            StrokeJoin=skia.Paint.kRound_Join,
        )
        outline = skia.Path()
        paint.getFillPath(line, outline)
        self.fill(skia.Simplify(outline), colour)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        colour: Colour,
        *,
        small: bool = False,
        alpha: int = 255,
    ) -> None:
        self.fill(
            skia.Path().addOval(skia.Rect(x - rx, y - ry, x + rx, y + ry)),
            colour,
            small=small,
            alpha=alpha,
        )

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
        path = skia.Path().addRoundRect(skia.Rect(x0, y0, x1, y1), radius, radius)
        self.fill(path, colour, small=small)

    def polygon(self, points: Sequence[Point], colour: Colour, *, small: bool = False) -> None:
        path = skia.Path()
        path.addPoly([skia.Point(*p) for p in points], True)
        self.fill(path, colour, small=small)
