"""What goes wrong while a run goes on, seen in its events, with what to change.

The losses looked at are those with fixed noise (`Validated`): a step's own loss says more of its
timesteps than of what was learnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loraloom.config import TrainConfig
from loraloom.dataset import footage
from loraloom.dataset.images import open_rgb
from loraloom.dataset.readiness import colour
from loraloom.train.events import Diagnosed, Event, Sampled, Validated
from loraloom.train.validation import overfits, overfitting_advice

FLAT = 0.01
"""A fall of the loss by less than this share, halfway through the run, is none."""
RISING = 0.03
"""Two measurements in a row this much above the lowest."""
UNSTEADY, TURNS = 0.03, 2
"""So many rises by such a share, each followed by a fall."""
FALLING, LAST = 0.25, 0.25
"""This share of the whole fall within this last part of the run: it was going on."""
_FORBID_MORE = {"loss_rising", "loss_unsteady", "overfitting"}
"""Faults beside which nobody is told to train for longer."""
CAST = 8.0
"""Distance from neutral in CIELAB; as for data sets."""
CAST_SHARE = 0.75
FEWEST_SAMPLES = 4
THUMB_PX = 64

Losses = Sequence[tuple[int, float]]
"""(step, loss) on the training subset, in the order of the steps."""


@dataclass
class Watch:
    """Sees the events of one run and tells each fault once."""

    config: TrainConfig
    _losses: list[tuple[int, float]] = field(default_factory=list)
    _held_out: dict[int, float] = field(default_factory=dict)
    _tints: list[colour.Tint] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    def see(self, event: Event) -> list[Diagnosed]:
        """What this event shows for the first time."""
        faults: list[tuple[str, str]] = []
        step = 0
        if isinstance(event, Validated):
            step = event.step
            self._losses.append((step, event.train_loss))
            if event.held_out_loss is not None:
                self._held_out[step] = event.held_out_loss
            faults = self._of_losses()
        elif isinstance(event, Sampled):
            step = event.step
            self._tints += [_tint(path) for path in event.paths]
            faults = list(of_colours(self._tints))
        new = [Diagnosed(step, name, text) for name, text in faults if name not in self._told]
        self._told.update(found.fault for found in new)
        return new

    def _of_losses(self) -> list[tuple[str, str]]:
        steps, values = self.config.schedule.steps, [loss for _, loss in self._losses]
        found = [
            *rising(self._losses), *unsteady(self._losses), *flat(self._losses, steps)
        ]  # fmt: skip
        # Where the loss has risen on all pictures it is the rate, and nothing was learnt by heart.
        if overfits(self._held_out) and values[-1] <= min(values) * (1 + RISING):
            found.append(("overfitting", overfitting_advice(self._held_out)))
        if not _FORBID_MORE & {*self._told, *(name for name, _ in found)}:
            found += unfinished(self._losses, steps)
        return found


def flat(losses: Losses, steps: int) -> Iterator[tuple[str, str]]:
    """Halfway through, the loss is where it was at the first measurement."""
    first, values = losses[0][1], [loss for _, loss in losses]
    halfway = len(losses) >= 3 and losses[-1][0] >= steps / 2
    if halfway and min(values) > first * (1 - FLAT) and max(values) < first * (1 + FLAT):
        yield (
            "loss_flat",
            f"The loss does not fall: {first:.4f} at step {losses[0][0]}, {values[-1]:.4f} at step "
            f"{losses[-1][0]}. Raise optimiser.learning_rate, 1e-4 is usual with alpha = rank, or "
            "adapter.alpha; and look whether the captions say what the pictures show "
            "(`loraloom caption lint`).",
        )


def rising(losses: Losses) -> Iterator[tuple[str, str]]:
    """The loss has left its lowest value and stays away."""
    values = [loss for _, loss in losses]
    lowest = min(values)
    if len(values) >= 3 and all(loss > lowest * (1 + RISING) for loss in values[-2:]):
        at = losses[values.index(lowest)][0]
        yield (
            "loss_rising",
            f"The loss rises on the pictures that are trained on: {lowest:.4f} at step {at}, "
            f"{values[-1]:.4f} now. The learning rate is too high: train again with a third of "
            "optimiser.learning_rate, or a longer schedule.warmup_steps.",
        )


def unsteady(losses: Losses) -> Iterator[tuple[str, str]]:
    """The loss goes up and down."""
    values = [loss for _, loss in losses]
    turns = sum(
        middle > max(before, after) * (1 + UNSTEADY)
        for before, middle, after in zip(values, values[1:], values[2:], strict=False)
    )
    if turns >= TURNS:
        yield (
            "loss_unsteady",
            f"The loss swings: {turns} times it rose by more than {UNSTEADY:.0%} and fell again. "
            "Lower optimiser.learning_rate, or raise accumulation so that each step sees more "
            "pictures.",
        )


def unfinished(losses: Losses, steps: int) -> Iterator[tuple[str, str]]:
    """At the end the loss was still falling as fast as ever."""
    if losses[-1][0] < steps or len(losses) < 4:
        return
    whole = losses[0][1] - losses[-1][1]
    then = next(loss for step, loss in reversed(losses) if step <= steps * (1 - LAST))
    if whole > losses[0][1] * FLAT and then - losses[-1][1] > whole * FALLING:
        yield (
            "unfinished",
            f"The loss was still falling at the last step ({then:.4f} to {losses[-1][1]:.4f} in "
            "the last quarter): the adapter has not learnt all it could, and the trigger may do "
            "little. Train with more schedule.steps, and see that every caption has the trigger.",
        )


def of_colours(tints: Sequence[colour.Tint]) -> Iterator[tuple[str, str]]:
    """The samples so far share a tint."""
    if len(tints) < FEWEST_SAMPLES:
        return
    found = colour.cast(list(tints))
    if found.strength >= CAST and found.share >= CAST_SHARE:
        yield (
            "colour_cast",
            f"{found.share:.0%} of the samples lean to {found.name}. The pictures may all be of "
            "one light: `loraloom dataset check` tells; correct their white balance, or add "
            "pictures in other light and before other backgrounds.",
        )


def _tint(path: Path) -> colour.Tint:
    """Of a clip by its first frame."""
    (picture,) = footage.frames(path, 1, 1.0) if footage.is_moving(path) else [open_rgb(path)]
    return colour.tint(np.asarray(picture.resize((THUMB_PX, THUMB_PX)), np.uint8))
