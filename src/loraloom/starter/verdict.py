"""What the demonstration measured, held against its targets, and what to change next."""

from __future__ import annotations

from dataclasses import dataclass

from loraloom.evaluate.report import Metric

LIKENESS_TARGET, OBEDIENCE_LOSS_LIMIT, BLEED_LIMIT = 0.85, 0.10, 0.10


@dataclass(frozen=True)
class Scores:
    """What the judge found, each a share 0..1."""

    likeness: float
    obedience: float
    obedience_base: float
    bleed: float

    @property
    def good(self) -> bool:
        return (
            self.likeness >= LIKENESS_TARGET
            and self.obedience >= self.obedience_base - OBEDIENCE_LOSS_LIMIT
            and self.bleed <= BLEED_LIMIT
        )

    @property
    def verdict(self) -> str:
        return "The adapter passes." if self.good else "The adapter misses a target."


def next_step(scores: Scores) -> str:
    """The one thing to change, worst first."""
    if scores.likeness < LIKENESS_TARGET:
        return "Likeness is low: train longer (--set schedule.steps=…) or raise adapter.rank."
    if scores.obedience < scores.obedience_base - OBEDIENCE_LOSS_LIMIT:
        return "Prompts are obeyed less than by the base: train shorter or generate at scale 0.8."
    if scores.bleed > BLEED_LIMIT:
        return "The subject shows without its trigger: raise prior.images or prior.share."
    return 'Train your own: loraloom train FOLDER --kind character --trigger "ohwx woman"'


def metrics(scores: Scores) -> list[Metric]:
    """The scores as the report shows them."""
    floor = scores.obedience_base - OBEDIENCE_LOSS_LIMIT
    return [
        Metric(
            "Likeness",
            f"{scores.likeness:.0%}",
            f"at least {LIKENESS_TARGET:.0%}",
            scores.likeness >= LIKENESS_TARGET,
            "share of the subject's visible features that the pictures show",
        ),
        Metric(
            "Obedience",
            f"{scores.obedience:.0%}",
            f"at least {floor:.0%}",
            scores.obedience >= floor,
            "share of the asked surroundings that are shown; "
            f"the base alone: {scores.obedience_base:.0%}",
        ),
        Metric(
            "Bleed",
            f"{scores.bleed:.0%}",
            f"at most {BLEED_LIMIT:.0%}",
            scores.bleed <= BLEED_LIMIT,
            "share of the subject's own features in pictures that did not ask for it",
        ),
    ]
