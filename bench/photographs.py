"""Synthetic photographs: texture, depth, grain and light, and a real face where one is needed.

Faces come from two photographs of NASA and the US Navy in the public domain, as matplotlib (Grace
Hopper) and scikit-image (Eileen Collins) ship them, for a cascade finds no face in a drawing.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import cv2
import numpy as np
from matplotlib import cbook
from numpy.typing import NDArray
from PIL import Image

Draw = Callable[[random.Random], tuple[Image.Image, str]]
"""A picture and its caption."""

OUTFITS = ("red hoodie", "blue dress", "white blouse", "black suit", "green coat", "gray sweater",
           "yellow raincoat", "denim jacket", "pink kimono", "brown vest")  # fmt: skip


def photograph(side_px: int) -> Draw:
    """A textured subject before a background that is sharp, soft, white or a night of lights."""

    def draw(rng: random.Random) -> tuple[Image.Image, str]:
        noise = np.random.default_rng(rng.getrandbits(32))
        depth = rng.choice(("sharp", "bokeh", "white", "night"))
        canvas = _background(depth, side_px, noise)
        _subject(canvas, noise, rng)
        canvas += noise.normal(0, rng.uniform(0.5, 3), canvas.shape)
        names = {"sharp": "forest", "bokeh": "bokeh", "white": "white background"}
        words = f"ohwx thing, {rng.choice(OUTFITS)}, {names.get(depth, 'night city')}"
        return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)), words

    return draw


def _texture(side_px: int, noise: np.random.Generator, slope: float) -> NDArray[np.float64]:
    """(S, S) with a spectrum of 1 / f^slope, as natural surfaces have; mean 0, spread 1."""
    steps = np.fft.fftfreq(side_px) * side_px
    radius = np.maximum(np.hypot.outer(steps, steps), 1)
    waves = np.fft.fft2(noise.normal(size=(side_px, side_px))) / radius**slope
    plane: NDArray[np.float64] = np.fft.ifft2(waves).real
    return (plane - plane.mean()) / plane.std()


def _background(depth: str, side_px: int, noise: np.random.Generator) -> NDArray[np.float64]:
    if depth == "white":
        return np.full((side_px, side_px, 3), 250.0)
    level, spread = (28, 12) if depth == "night" else (noise.uniform(80, 150), 42)
    planes = [level + spread * _texture(side_px, noise, 1.1) for _ in range(3)]
    shared = _texture(side_px, noise, 1.0)[..., None] * spread
    canvas = np.stack(planes, axis=-1) * 0.5 + (level + shared) * 0.5
    for _ in range(12 if depth == "night" else 25):
        place = tuple(int(v) for v in noise.integers(0, side_px, 2))
        colour = [float(v) for v in noise.uniform(150 if depth == "night" else 20, 255, 3)]
        cv2.circle(canvas, place, int(side_px * noise.uniform(0.01, 0.06)), colour, -1, cv2.LINE_AA)
    if depth == "bokeh":
        canvas = cv2.GaussianBlur(canvas, (0, 0), side_px * 0.015)
    return np.asarray(canvas, np.float64)


def _subject(canvas: NDArray[np.float64], noise: np.random.Generator, rng: random.Random) -> None:
    side_px = len(canvas)
    mask = np.zeros((side_px, side_px))
    centre = [int(side_px * rng.uniform(0.35, 0.65)) for _ in range(2)]
    axes = [int(side_px * rng.uniform(0.14, 0.26)) for _ in range(2)]
    cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
    corners = (np.array(centre) + noise.normal(0, side_px * 0.15, (5, 2))).astype(np.int32)
    cv2.fillPoly(mask, [corners], 1.0, cv2.LINE_AA)
    colour = noise.uniform(40, 210, 3)
    shade = np.linspace(0.75, 1.15, side_px)[None, :, None]
    skin = (colour + 26 * _texture(side_px, noise, 0.9)[..., None]) * shade
    canvas[:] = canvas * (1 - mask[..., None]) + skin * mask[..., None]


def people() -> tuple[Image.Image, Image.Image]:
    """Two women who look at the camera, each cut to head and shoulders, 3 : 4."""
    from skimage import data

    path = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = Image.open(str(path)).convert("RGB").crop((90, 0, 390, 400))
    return hopper, Image.fromarray(data.astronaut()).crop((100, 0, 346, 328))


def with_faces(side_px: int, rng: random.Random, faces: int) -> Image.Image:
    """A photograph with one person or two, each of their own size, side and light."""
    picture, _ = photograph(side_px)(rng)
    persons = rng.sample(people(), faces)
    for number, person in enumerate(persons):
        width = round(side_px / 2 * rng.uniform(0.6, 1.0))
        face = person.resize((width, width * 4 // 3), Image.Resampling.LANCZOS)
        if rng.random() < 0.5:
            face = face.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        room = side_px // faces - width
        left = side_px // faces * number + rng.randint(0, max(room, 0))
        top = rng.randint(0, side_px - face.height)
        picture.paste(gain(face, rng.uniform(-0.6, 0.3)), (left, top))
    return picture


def gain(picture: Image.Image, stops: float) -> Image.Image:
    linear = (np.asarray(picture) / 255) ** 2.2 * 2.0**stops
    return Image.fromarray((np.clip(linear, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8))
