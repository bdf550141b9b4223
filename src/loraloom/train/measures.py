"""What to change where a run would not fit, by what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec

from loraloom.config import Quantisation, TrainConfig
from loraloom.families.info import BaseProfile
from loraloom.train.memory import frames_of, with_data

_QUANTISED: tuple[tuple[Quantisation, str], ...] = (
    ("int8", "a little slower; rounds by 0.7 %"),
    ("nf4", "rounds by 9 %; needs bitsandbytes"),
)
"""Ways to hold the base, and what they cost."""


@dataclass(frozen=True)
class Measure:
    """A way to need less, and what it costs; each comes on top of those before it."""

    name: str
    cost: str
    config: TrainConfig
    settings: tuple[str, ...] = ()
    """As --set takes them."""


def measures(
    config: TrainConfig, profile: BaseProfile, *, elsewhere: bool = False
) -> list[Measure]:
    """From the settings as they are, by what costs least first.

    What needs bitsandbytes is among them where that is installed, or where the run is `elsewhere`.
    """
    found = [Measure("as it is", "", config)]
    bitsandbytes = elsewhere or find_spec("bitsandbytes") is not None

    def add(name: str, cost: str, changed: TrainConfig, *settings: str) -> None:
        found.append(Measure(name, cost, changed, (*found[-1].settings, *settings)))

    if not config.gradient_checkpointing:
        config = config.model_copy(update={"gradient_checkpointing": True})
        add("gradient checkpointing", "steps take a third longer", config,
            "gradient_checkpointing=true")  # fmt: skip
    if config.optimiser.name == "adamw" and bitsandbytes:
        small = config.optimiser.model_copy(update={"name": "adamw8bit"})
        config = config.model_copy(update={"optimiser": small})
        add("8-bit optimiser", "hardly less exact; needs bitsandbytes", config,
            "optimiser.name=adamw8bit")  # fmt: skip
    for choice, cost in _QUANTISED:
        if choice == "nf4" and not bitsandbytes:
            continue
        if config.quantisation == "none" or (choice == "nf4" and config.quantisation != "nf4"):
            config = config.model_copy(update={"quantisation": choice})
            add(f"base in {choice}", cost, config, f"quantisation={choice}")
            found[-1] = replace(found[-1], settings=_last_of_each(found[-1].settings))
    if config.batch_size > 1:
        pictures = config.batch_size * config.accumulation
        config = config.model_copy(update={"batch_size": 1, "accumulation": pictures})
        add("smaller batch with accumulation", "the same learning, in slower steps", config,
            "batch_size=1", f"accumulation={pictures}")  # fmt: skip
    rule = profile.frames
    if rule:
        fewer = rule.fit((frames_of(config, profile) + 1) // 2)
        if fewer:
            config = with_data(config, frames=fewer)
            add(f"clips of {fewer} frames", "longer movements are not learnt", config,
                f"data.frames={fewer}")  # fmt: skip
    side = config.data.resolution_px or profile.native_px
    multiple = profile.size_multiple_px
    for share in (0.75, 0.5):
        lower = int(side * share) // multiple * multiple
        if lower >= multiple:
            config = with_data(config, resolution_px=lower)
            add(f"resolution of {lower} px", "less detail is learnt", config,
                f"data.resolution_px={lower}")  # fmt: skip
            found[-1] = replace(found[-1], settings=_last_of_each(found[-1].settings))
    return found


def advice(config: TrainConfig, profile: BaseProfile) -> str:
    """What could be tried, in order, in one sentence."""
    steps = [f"{m.name} (--set {m.settings[-1]}: {m.cost})" for m in measures(config, profile)[1:]]
    return "Try in this order: " + "; ".join(steps) + "."


def _last_of_each(settings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({text.partition("=")[0]: text for text in settings}.values())
