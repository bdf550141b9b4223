"""Draw a scene."""

from __future__ import annotations

import random

import numpy as np
import skia
from numpy.typing import NDArray
from PIL import Image

from loraloom.starter.world.backgrounds import draw_background
from loraloom.starter.world.pen import Colour, Pen
from loraloom.starter.world.people import draw_person
from loraloom.starter.world.scene import Scene
from loraloom.starter.world.things import draw_thing

UNITS = 128
"""Side of the drawing in its own units; any pixel size is a scale of it."""


def render(scene: Scene, size_px: int = 128) -> NDArray[np.uint8]:
    """The scene as uint8 (size_px, size_px, 3) RGB; the same scene gives the same bytes."""
    rng = random.Random(scene.seed)
    surface = skia.Surface(size_px, size_px)
    with surface as canvas:
        canvas.scale(size_px / UNITS, size_px / UNITS)
        pen = Pen(canvas, scene["style"], rng)
        draw_background(pen, scene["background"], rng)
        (draw_person if scene.is_person else draw_thing)(pen, scene, rng)
        _paper(canvas, scene["style"], rng)
        _light(canvas, scene["lighting"], rng)
    pixels = surface.makeImageSnapshot().toarray(colorType=skia.kRGBA_8888_ColorType)
    return np.ascontiguousarray(pixels[..., :3])


def render_image(scene: Scene, size_px: int = 128) -> Image.Image:
    return Image.fromarray(render(scene, size_px))


def _wash(canvas: skia.Canvas, shader: skia.Shader, mode: skia.BlendMode) -> None:
    canvas.drawPaint(skia.Paint(Shader=shader, BlendMode=mode))


def _linear(
    stops: list[Colour], start: tuple[float, float], end: tuple[float, float]
) -> skia.Shader:
    return skia.GradientShader.MakeLinear(
        [skia.Point(*start), skia.Point(*end)], [skia.ColorSetRGB(*c) for c in stops]
    )


def _light(canvas: skia.Canvas, name: str, rng: random.Random) -> None:
    multiply, screen = skia.BlendMode.kMultiply, skia.BlendMode.kScreen
    left = rng.random() < 0.5
    a, b = ((0.0, 0.0), (UNITS, UNITS * 0.3)) if left else ((UNITS, 0.0), (0.0, UNITS * 0.3))
    match name:
        case "golden hour":
            _wash(canvas, _linear([(255, 228, 178), (250, 192, 132)], a, b), multiply)
            sun = skia.GradientShader.MakeRadial(
                skia.Point(*a), 90, [skia.ColorSetRGB(120, 80, 16), skia.ColorSetRGB(0, 0, 0)]
            )
            _wash(canvas, sun, screen)
        case "cool lighting":
            _wash(canvas, _linear([(206, 228, 255), (150, 186, 244)], a, b), multiply)
        case "dramatic lighting":
            _wash(canvas, _linear([(255, 250, 244), (186, 178, 186), (78, 72, 92)], a, b), multiply)
        case "neon lighting":
            _wash(
                canvas, _linear([(255, 150, 226), (186, 160, 246), (136, 234, 255)], a, b), multiply
            )
            _wash(canvas, _linear([(60, 0, 44), (0, 0, 0), (0, 36, 56)], a, b), screen)
        case _:
            pass


def _paper(canvas: skia.Canvas, style: str, rng: random.Random) -> None:
    match style:
        case "comic style":
            dots = skia.Path()
            for row in range(22):
                for column in range(22):
                    x, y = column * 6 + (row % 2) * 3, row * 6
                    dots.addCircle(x, y, 0.35 + 0.75 * (row / 22))
            paint = skia.Paint(AntiAlias=True, Color=skia.ColorSetARGB(56, 20, 20, 60))
            canvas.drawPath(dots, paint)
        case "watercolor style":
            for _ in range(7):
                centre = skia.Point(rng.uniform(0, UNITS), rng.uniform(0, UNITS))
                blot = skia.GradientShader.MakeRadial(
                    centre,
                    rng.uniform(18, 46),
                    [skia.ColorSetARGB(44, 255, 250, 240), skia.ColorSetARGB(0, 255, 250, 240)],
                )
                _wash(canvas, blot, skia.BlendMode.kSrcOver)
        case "blueprint style":
            paint = skia.Paint(Color=skia.ColorSetARGB(50, 220, 236, 255), StrokeWidth=0.5)
            for k in range(0, UNITS, 16):
                canvas.drawLine(k, 0, k, UNITS, paint)
                canvas.drawLine(0, k, UNITS, k, paint)
        case _:
            pass
