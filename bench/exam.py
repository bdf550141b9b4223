"""What an adapter of held-out subjects has learnt, as the demonstration reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loraloom.generate.session import Generator
from loraloom.starter.demo import requests
from loraloom.starter.example import contexts
from loraloom.starter.judge import Judge, Reading, agreement, bleed, likeness, obedience, share
from loraloom.starter.world.scene import Identity


@dataclass(frozen=True)
class Marks:
    """Shares 0..1."""

    likeness: float
    obedience: float
    background: float
    """Of the asked backgrounds, those that are shown; a part of the obedience."""
    bleed: float
    """Features of the subject where its trigger is not said."""
    confusion: float = 0.0
    """Features of the other subjects of the adapter where its trigger is said."""


def examine(
    identity: Identity, adapter: Path, pictures: int, others: Sequence[Identity] = ()
) -> Marks:
    """Draw so many pictures with the trigger, and as many without, in contexts not trained on."""
    generator = Generator("starter")
    generator.load_adapter(adapter, "adapter")
    scenes, judge = contexts(identity, pictures, seed=1), Judge.load()

    def read(subject: str) -> list[Reading]:
        return judge.read(generator.generate(requests(scenes, subject)))

    triggered = read(identity.trigger)
    return Marks(
        likeness(identity, scenes, triggered),
        obedience(scenes, triggered),
        share(agreement(scenes, triggered, ["background"])),
        bleed(identity, scenes, read(identity.class_word)),
        max((bleed(other, scenes, triggered) for other in others), default=0.0),
    )
