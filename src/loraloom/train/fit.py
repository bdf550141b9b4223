"""Do the settings fit the base? A setting that would have no effect on it is refused by name."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom.config import AdapterConfig, AdapterType, ObjectiveConfig, TrainConfig
from loraloom.errors import ConfigInvalid
from loraloom.families.info import FamilyInfo

_DISCRETE = ("min_snr_gamma", "noise_offset")
_FLOW = ("times", "shift")
_LOGIT_NORMAL = ("logit_mean", "logit_std")
_RANKED = ("rank", "alpha", "ranks")
_LINEAR = (*_RANKED, "dropout", "rslora", "plus_ratio")
_ADAPTERS: dict[AdapterType, tuple[str, ...]] = {
    "lora": (*_LINEAR, "init"),
    "dora": _LINEAR,
    "loha": _RANKED,
    "lokr": (*_RANKED, "factor"),
    "oft": ("block_size",),
    "boft": ("block_size",),
}


def check(config: TrainConfig, info: FamilyInfo) -> None:
    """Raise ConfigInvalid with each setting that has no effect on the base, or is missing."""
    problems = [
        *(f"{name} has no effect {why}; leave it out." for name, why in _idle(config, info)),
        *(f"The setting {name} is missing." for name in _missing(config, info)),
    ]
    if problems:
        raise ConfigInvalid("\n".join(problems))


def belonging(objective: ObjectiveConfig, info: FamilyInfo) -> tuple[str, ...]:
    """The settings of the objective that such a base has."""
    if info.objective == "discrete":
        return _DISCRETE
    return (*_FLOW, *_LOGIT_NORMAL) if objective.times != "uniform" else _FLOW


def adapter_settings(type_: AdapterType) -> tuple[str, ...]:
    """The settings that such an adapter has, beside its type and targets."""
    return _ADAPTERS[type_]


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
    for name, value in _idle_of_adapter(config.adapter):
        yield f"adapter.{name} = {value!r}", f'with adapter.type = "{config.adapter.type}"'
    if config.clip_skip and not info.clip_skip:
        yield f"clip_skip = {config.clip_skip}", f"{on}, whose text encoders are taken whole"
    if config.text_encoder.ratio and not info.trained_encoders:
        ratio = f"text_encoder.ratio = {config.text_encoder.ratio}"
        yield ratio, f"{on}, whose text encoder is too large to be trained beside it"


def _idle_of_adapter(adapter: AdapterConfig) -> Iterator[tuple[str, object]]:
    own = ("type", "targets", *adapter_settings(adapter.type))
    for name, value in adapter:
        if name not in own and value != AdapterConfig.model_fields[name].default:
            yield name, value


def _missing(config: TrainConfig, info: FamilyInfo) -> Iterator[str]:
    for name in belonging(config.objective, info):
        if getattr(config.objective, name) is None:
            yield f"objective.{name}"
    needed = {"rank", "alpha", "block_size"} & {*adapter_settings(config.adapter.type)}
    for name in sorted(needed):
        if getattr(config.adapter, name) is None:
            yield f"adapter.{name}"
