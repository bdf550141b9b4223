"""The plan of a run: its memory and time on this machine, and what to change where it is short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from loraloom.config import TrainConfig
from loraloom.errors import ConfigInvalid, MemoryExhausted
from loraloom.kinds import read_data
from loraloom.train import machine, memory
from loraloom.train.events import Planned, Warned
from loraloom.train.measures import Measure, advice, measures
from loraloom.train.memory import Estimate, Outline
from loraloom.train.precision import choose_device, choose_dtype
from loraloom.train.setup import Setup, find_base


@dataclass(frozen=True)
class Step:
    """One measure and what it leads to."""

    measure: Measure
    estimate: Estimate
    fits: bool
    seconds_a_step: float | None
    """None where the card is not here to be measured."""


@dataclass(frozen=True)
class Plan:
    """Measures in order, each on top of those before it, until enough."""

    card: str
    device: str
    """ "cpu" or "cuda"."""
    available_mib: int
    steps: tuple[Step, ...]

    @property
    def chosen(self) -> Step | None:
        """The first that fits."""
        return next((step for step in self.steps if step.fits), None)


def plan(config: TrainConfig, card: str | None = None, *, less: bool = False) -> Plan:
    """For this machine, or for a card by name; with `less` until a measure fits that needs less
    than the settings as they are. Raises ConfigInvalid, BaseUnknown."""
    base, family, profile = find_base(config)
    device = "cuda" if card else choose_device()
    # Cards that are named compute in bfloat16.
    dtype = choose_dtype("bfloat16" if card else config.precision, device, config.adapter.type)
    available = _memory_of(card) if card else machine.total_mib(device)
    speed = None if card else machine.flops_per_s(device, dtype)
    outline = Outline(config, base, family, profile, device=device, dtype=dtype)
    steps: list[Step] = []
    for measure in measures(config, profile, elsewhere=card is not None):
        found = outline.estimate(measure.config)
        seconds = None if speed is None else found.seconds_a_step(speed)
        steps.append(Step(measure, found, found.peak_mib <= available, seconds))
        if steps[-1].fits and not (less and found.peak_mib >= steps[0].estimate.peak_mib):
            break
    return Plan(card or machine.title(device), device, available, tuple(steps))


def announce(setup: Setup) -> Iterator[Planned | Warned]:
    """What the run will take on this machine; a warning with what to do where it will not fit."""
    device, config = setup.device, as_used(setup)
    outline = Outline(
        config, setup.base, setup.family, setup.profile, device=device, dtype=setup.dtype,
        shares=setup.processes.count if config.shard_base else 1,
    )  # fmt: skip
    found = outline.estimate(config)
    total = machine.total_mib(device)
    seconds = found.seconds_a_step(machine.flops_per_s(device, setup.dtype))
    yield Planned(found.peak_mib, total, round(seconds * config.schedule.steps / 60, 1))
    if found.peak_mib > total:
        yield Warned(
            f"This needs about {found.peak_mib / 1024:.1f} GiB of memory, and there are "
            f"{total / 1024:.1f} GiB. {advice(config, setup.profile)}"
        )


@contextmanager
def telling_exhaustion(setup: Setup, step: int) -> Iterator[None]:
    """Raise MemoryExhausted, with what to do, in place of torch's error."""
    try:
        yield
    except RuntimeError as error:
        if not machine.is_exhausted(error):
            raise
        total = machine.total_mib(setup.device) / 1024
        raise MemoryExhausted(
            f"The memory was used up in step {step}: {machine.title(setup.device)} has "
            f"{total:.1f} GiB. {advice(as_used(setup), setup.profile)}"
        ) from error


def cards() -> dict[str, int]:
    """Name -> memory in GiB of the cards that are known."""
    return {name: int(gib) for name, gib in read_data("cards").items()}


def as_used(setup: Setup) -> TrainConfig:
    """The settings, with the frames of the longest clip there is."""
    if setup.profile.frames is None:
        return setup.config
    every = (*setup.examples, *setup.held_out)
    return memory.with_data(setup.config, frames=max(e.crop.bucket.frames for e in every))


def _memory_of(card: str) -> int:
    known = cards()
    if card not in known:
        raise ConfigInvalid(
            f"No card {card!r} is known. There are: {', '.join(known)}. Without --card the plan is "
            "for this machine."
        )
    return known[card] * 1024
