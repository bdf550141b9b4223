"""What to change where a run would not fit, by what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from loraloom.config import TrainConfig
from loraloom.families.info import BaseProfile
from loraloom.train.memory import frames_of, with_data


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

    def offer(name: str, cost: str, changed: TrainConfig, *settings: str) -> None:
        by_name = {text.partition("=")[0]: text for text in (*found[-1].settings, *settings)}
        found.append(Measure(name, cost, changed, tuple(by_name.values())))

    if not config.gradient_checkpointing:
        config = config.model_copy(update={"gradient_checkpointing": True})
        offer("gradient checkpointing", "steps take a third longer", config,
            "gradient_checkpointing=true")  # fmt: skip
    if config.optimiser.name == "adamw" and bitsandbytes:
        small = config.optimiser.model_copy(update={"name": "adamw8bit"})
        config = config.model_copy(update={"optimiser": small})
        offer("8-bit optimiser", "hardly less exact; needs bitsandbytes", config,
            "optimiser.name=adamw8bit")  # fmt: skip
    if config.quantisation == "none":
        config = config.model_copy(update={"quantisation": "int8"})
        offer("base in int8", "a little slower; rounds by 0.7 %", config, "quantisation=int8")
    if config.quantisation != "nf4" and bitsandbytes:
        config = config.model_copy(update={"quantisation": "nf4"})
        offer("base in nf4", "rounds by 9 %; needs bitsandbytes", config, "quantisation=nf4")
    if config.batch_size > 1:
        pictures = config.batch_size * config.accumulation
        config = config.model_copy(update={"batch_size": 1, "accumulation": pictures})
        offer("smaller batch with accumulation", "the same learning, in slower steps", config,
            "batch_size=1", f"accumulation={pictures}")  # fmt: skip
    rule = profile.frames
    if rule:
        fewer = rule.fit((frames_of(config, profile) + 1) // 2)
        if fewer:
            config = with_data(config, frames=fewer)
            offer(f"clips of {fewer} frames", "longer movements are not learnt", config,
                f"data.frames={fewer}")  # fmt: skip
    side = config.data.resolution_px or profile.native_px
    multiple = profile.size_multiple_px
    for share in (0.75, 0.5):
        lower = int(side * share) // multiple * multiple
        if lower >= multiple:
            config = with_data(config, resolution_px=lower)
            offer(f"resolution of {lower} px", "less detail is learnt", config,
                f"data.resolution_px={lower}")  # fmt: skip
    return found


def advice(config: TrainConfig, profile: BaseProfile) -> str:
    """What could be tried, in order, in one sentence."""
    steps = [f"{m.name} (--set {m.settings[-1]}: {m.cost})" for m in measures(config, profile)[1:]]
    return f"Try in this order: {'; '.join(steps)}."
