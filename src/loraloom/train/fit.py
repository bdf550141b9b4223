"""Do the settings fit the base? A setting that would have no effect on it is refused by name."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.config import ObjectiveConfig, TrainConfig
from loraloom.errors import ConfigInvalid
from loraloom.families.info import FamilyInfo

_DISCRETE = ("min_snr_gamma", "noise_offset")
_FLOW = ("times", "shift")
_LOGIT_NORMAL = ("logit_mean", "logit_std")


def check(config: TrainConfig, info: FamilyInfo) -> None:
    """Raise ConfigInvalid with each setting that has no effect on the base, or is missing."""
    problems = [
        *(f"{name} has no effect {why}; leave it out." for name, why in _idle(config, info)),
        *(f"The setting objective.{name} is missing." for name in _missing(config, info)),
        *_unfit(config, info),
    ]
    if problems:
        raise ConfigInvalid("\n".join(problems))


def belonging(objective: ObjectiveConfig, info: FamilyInfo) -> tuple[str, ...]:
    """The settings of the objective that such a base has."""
    if info.objective == "discrete":
        return _DISCRETE
    return (*_FLOW, *_LOGIT_NORMAL) if objective.times != "uniform" else _FLOW


def _idle(config: TrainConfig, info: FamilyInfo) -> Iterator[tuple[str, str]]:
    """(setting as it was given, why it has no effect)."""
    on = f"on {info.title}"
    learns = {"discrete": "diffusion with a discrete schedule", "flow": "flow matching"}
    own = belonging(config.objective, info)
    for name, value in config.objective:
        if value is not None and name not in own:
            why = 'with objective.times = "uniform"'
            if name not in _LOGIT_NORMAL or info.objective == "discrete":
                why = f"{on}, which is trained by {learns[info.objective]}"
            yield f"objective.{name} = {value!r}", why
    if config.clip_skip and not info.clip_skip:
        yield f"clip_skip = {config.clip_skip}", f"{on}, whose text encoders are taken whole"
    if config.expert and not info.experts:
        yield f"expert = {config.expert!r}", f"{on}, which has one denoiser"
    if not info.frames:
        for name, count in _frames(config):
            yield f"{name} = {count}", f"{on}, which draws pictures"
    if config.text_encoder.ratio and not info.trained_encoders:
        ratio = f"text_encoder.ratio = {config.text_encoder.ratio}"
        yield ratio, f"{on}, whose text encoder is too large to be trained beside it"


def _unfit(config: TrainConfig, info: FamilyInfo) -> Iterator[str]:
    """An expert that is not named, and counts of frames that the base of video cannot take."""
    if info.experts and config.expert not in info.experts:
        yield f"The setting expert is missing: one of {', '.join(info.experts)}."
    rule = info.frames
    for name, count in _frames(config):
        if rule and rule.largest(count) != count:
            low, high = rule.largest(count), rule.largest(count) + rule.step
            yield (
                f"{name} = {count} is not possible on {info.title}, which takes {rule.step} k + 1 "
                f"frames: {low} or {high}, for example."
            )


def _frames(config: TrainConfig) -> list[tuple[str, int]]:
    """(setting, frames) as far as they are given."""
    given = {"data.frames": config.data.frames, "samples.frames": config.samples.frames}
    return [(name, count) for name, count in given.items() if count is not None]


def _missing(config: TrainConfig, info: FamilyInfo) -> list[str]:
    own = belonging(config.objective, info)
    return [name for name in own if getattr(config.objective, name) is None]
