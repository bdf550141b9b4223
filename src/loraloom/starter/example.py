"""A captioned example set of a subject that the starter base has never seen."""

from __future__ import annotations

import random
from pathlib import Path

from loraloom.files import write_atomic, write_png
from loraloom.starter.world.render import render_image
from loraloom.starter.world.scene import Identity, Scene, caption, identity_scene

PICTURES = 30


def example_scenes(identity: Identity, count: int = PICTURES, seed: int = 0) -> list[Scene]:
    """`count` different scenes of the subject, the same ones for the same seed."""
    rng = random.Random(f"example-{identity.name}-{seed}")
    return [identity_scene(identity, rng) for _ in range(count)]


def contexts(identity: Identity, count: int, seed: int) -> list[Scene]:
    """Scenes whose captions are not in the example set."""
    known = {caption(scene, identity.trigger) for scene in example_scenes(identity)}
    rng = random.Random(f"context-{identity.name}-{seed}")
    found: list[Scene] = []
    while len(found) < count:
        scene = identity_scene(identity, rng)
        if caption(scene, identity.trigger) not in known:
            found.append(scene)
    return found


def write_example(folder: Path, identity: Identity, count: int = PICTURES) -> None:
    """Write the pictures as 01.png with 01.txt and so on: trigger and surroundings, no identity."""
    for number, scene in enumerate(example_scenes(identity, count), start=1):
        write_png(folder / f"{number:02d}.png", render_image(scene))
        words = caption(scene, identity.trigger) + "\n"
        write_atomic(folder / f"{number:02d}.txt", words.encode(), durable=False)
