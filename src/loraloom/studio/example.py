"""The example: pictures of a character that the starter base has never seen, and its training."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import count
from pathlib import Path

from loraloom.dataset.intake import import_into
from loraloom.starter.example import contexts, write_example
from loraloom.starter.world.scene import CHARACTERS, Identity, caption
from loraloom.studio.job import Job
from loraloom.studio.studio import Studio
from loraloom.train import recipe

SUBJECT = CHARACTERS[0]
SAMPLES = 3
SAMPLE_EVERY_STEPS = 50


def add_example(studio: Studio, subject: Identity = SUBJECT) -> str:
    """Make the example a stored dataset, unless it is one already; its name."""
    name = _free_name(studio, subject.name)
    if not studio.datasets.has(name):
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / name
            write_example(folder, subject)
            stored = studio.datasets.place(name)
            studio.datasets.claim(stored)
            import_into(stored, [folder])
            stored.set_concepts(
                replace(concept, trigger=subject.trigger) for concept in stored.working.concepts
            )
    return name


def _free_name(studio: Studio, name: str) -> str:
    """The name, or where others have such a dataset, with a number."""
    tried = (name if n == 1 else f"{name}-{n}" for n in count(1))
    return next(n for n in tried if studio.datasets.is_free(n) or studio.datasets.is_own(n))


def start_example(studio: Studio) -> Job:
    """Queue a run of the example on the starter base, with a picture on the way now and then."""
    name = add_example(studio)
    prompts = [caption(scene, SUBJECT.trigger) for scene in contexts(SUBJECT, SAMPLES, seed=0)]
    config = recipe.resolve(
        {
            "data": {"folder": name},
            "samples": {"prompts": prompts, "every_steps": SAMPLE_EVERY_STEPS},
        },
        preset="beginner",
    )
    return studio.jobs.add(config, name)
