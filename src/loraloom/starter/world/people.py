"""People of the starter world: big heads, simple bodies, every attribute readable."""

from __future__ import annotations

import random

from loraloom.starter.world.clothes import draw_accessory, draw_arms, draw_body
from loraloom.starter.world.face import draw_face, draw_head, draw_mark
from loraloom.starter.world.figure import Figure
from loraloom.starter.world.hair import draw_hair_back, draw_hair_front, draw_headpiece
from loraloom.starter.world.pen import Pen
from loraloom.starter.world.scene import Scene

HEADS = {
    "close-up": (64.0, 62.0, 38.0),
    "upper body": (64.0, 48.0, 28.0),
    "full body": (64.0, 33.0, 19.0),
}
"""Centre x, centre y and radius of the head on the 128 × 128 canvas, by framing."""


def draw_person(pen: Pen, scene: Scene, rng: random.Random) -> None:
    x, y, r = HEADS[scene["framing"]]
    turn = {"front view": 0.0, "three quarter view": 0.38, "side profile": 0.86}[scene["view"]]
    spread = 64 - r * 1.6
    figure = Figure(
        pen,
        scene,
        x + rng.uniform(-0.12, 0.12) * spread,
        y + rng.uniform(-2, 2),
        r * rng.uniform(0.95, 1.05),
        turn * rng.choice((-1, 1)),
    )
    draw_hair_back(figure)
    draw_body(figure)
    draw_head(figure)
    draw_face(figure)
    draw_hair_front(figure)
    draw_mark(figure)
    draw_headpiece(figure)
    draw_accessory(figure)
    draw_arms(figure)
