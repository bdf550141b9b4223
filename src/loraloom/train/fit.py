"""Do the settings fit the base and each other? One that would have no effect is refused by name."""

from __future__ import annotations

from collections.abc import Iterator

from loraloom import kinds
from loraloom.config import AdapterConfig, AdapterType, ObjectiveConfig, TrainConfig
from loraloom.errors import ConfigInvalid
from loraloom.families.info import FamilyInfo

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
_HUBER = ("huber_c", "huber_schedule")
_COURSES = {"power": "polynomial", "cycles": "cosine_restarts"}
"""Setting of the schedule -> the only course that has it."""


def check(config: TrainConfig, info: FamilyInfo) -> None:
    """Raise ConfigInvalid with each setting that has no effect, contradicts another or is
    missing."""
    idle = [*_idle(config, info), *_idle_in_steps(config)]
    problems = [
        *(f"{name} has no effect {why}; leave it out." for name, why in idle),
        *_contradictions(config),
        *(f"The setting {name} is missing." for name in _missing(config, info)),
        *_unfit(config, info),
    ]
    if problems:
        raise ConfigInvalid("\n".join(problems))


def belonging(objective: ObjectiveConfig, info: FamilyInfo) -> tuple[str, ...]:
    """The settings of the objective that such a base has."""
    huber = _HUBER if objective.loss == "huber" else ()
    if info.objective == "discrete":
        weights = () if objective.debiased else ("min_snr_gamma",)
        return (*weights, "debiased", "noise_offset", "zero_terminal_snr", "loss", *huber)
    times = (*_FLOW, *_LOGIT_NORMAL) if objective.times != "uniform" else _FLOW
    return (*times, "loss", *huber)


def idle_settings(config: TrainConfig, info: FamilyInfo) -> set[str]:
    """Dotted names of settings that have no effect beside the others of such a run on such a base:
    a form leaves them out."""
    adapter = {"type", "targets", *adapter_settings(config.adapter.type)}
    objective = ObjectiveConfig.model_fields.keys() - {*belonging(config.objective, info)}
    idle = {f"objective.{name}" for name in objective}
    idle |= {f"adapter.{n}" for n in AdapterConfig.model_fields.keys() - adapter}
    idle |= {f"schedule.{n}" for n, course in _COURSES.items() if course != config.schedule.name}
    unless = {
        "clip_skip": info.clip_skip,
        "expert": info.experts,
        "data.frames": info.frames,
        "samples.frames": info.frames and config.samples.prompts,
        "text_encoder.ratio": info.trained_encoders,
        "text_encoder.learning_rate": info.trained_encoders and config.text_encoder.ratio,
        "optimiser.betas": _betas(config),
        "ema_decay": config.optimiser.name != "schedulefree",
    }
    return idle | {name for name, has_effect in unless.items() if not has_effect}


def adapter_settings(type_: AdapterType) -> tuple[str, ...]:
    """The settings that such an adapter has, beside its type and targets."""
    return _ADAPTERS[type_]


def _idle(config: TrainConfig, info: FamilyInfo) -> Iterator[tuple[str, str]]:
    """(setting as it was given, why it has no effect) on the base."""
    on = f"on {info.title}"
    own = belonging(config.objective, info)
    for name, value in config.objective:
        if value is not None and name not in own:
            yield f"objective.{name} = {_toml(value)}", _why_idle(name, info)
    for name, value in _idle_of_adapter(config.adapter):
        yield f"adapter.{name} = {value!r}", f'with adapter.type = "{config.adapter.type}"'
    if config.clip_skip and not info.clip_skip:
        yield f"clip_skip = {config.clip_skip}", f"{on}, whose text encoders are taken whole"
    if config.expert and not info.experts:
        yield f"expert = {config.expert!r}", f"{on}, which has one denoiser"
    if not info.frames:
        for name, count in _frames(config):
            yield f"{name} = {count}", f"{on}, which draws pictures"
    if config.samples.frames and info.frames and not config.samples.prompts:
        yield f"samples.frames = {config.samples.frames}", "without samples.prompts"
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
            yield f"{name} = {count} is not possible on {info.title}, which {rule.nearest(count)}."


def _frames(config: TrainConfig) -> list[tuple[str, int]]:
    """(setting, frames) as far as they are given."""
    given = {"data.frames": config.data.frames, "samples.frames": config.samples.frames}
    return [(name, count) for name, count in given.items() if count is not None]


def _idle_of_adapter(adapter: AdapterConfig) -> Iterator[tuple[str, object]]:
    own = ("type", "targets", *adapter_settings(adapter.type))
    for name, value in adapter:
        if name not in own and value != AdapterConfig.model_fields[name].default:
            yield name, value


def _why_idle(name: str, info: FamilyInfo) -> str:
    discrete = info.objective == "discrete"
    if name in _HUBER:
        return 'without objective.loss = "huber"'
    if name == "min_snr_gamma" and discrete:
        return "with objective.debiased = true, which weighs the timesteps itself"
    if name in _LOGIT_NORMAL and not discrete:
        return 'with objective.times = "uniform"'
    learns = "diffusion with a discrete schedule" if discrete else "flow matching"
    return f"on {info.title}, which is trained by {learns}"


def _idle_in_steps(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """As `_idle`, of the optimiser and the schedule."""
    optimiser, schedule = config.optimiser, config.schedule
    chosen = f'with optimiser.name = "{optimiser.name}"'
    if optimiser.betas is not None and not _betas(config):
        yield f"optimiser.betas = {list(optimiser.betas)}", chosen
    if optimiser.name == "schedulefree" and schedule.name != "constant":
        yield f'schedule.name = "{schedule.name}"', f"{chosen}, which averages in its place"
    if optimiser.name == "schedulefree" and config.ema_decay:
        yield f"ema_decay = {config.ema_decay}", f"{chosen}, which averages by itself"
    for name, course in _COURSES.items():
        value = getattr(schedule, name)
        if value is not None and schedule.name != course:
            yield f"schedule.{name} = {value}", f'without schedule.name = "{course}"'


def _contradictions(config: TrainConfig) -> Iterator[str]:
    optimiser, wanted = config.optimiser, _betas(config)
    if optimiser.betas is not None and wanted and len(optimiser.betas) != wanted:
        yield (
            f"optimiser.betas = {list(optimiser.betas)} is not possible: {optimiser.name} takes "
            f"{wanted} numbers."
        )
    ratio = config.adapter.plus_ratio
    if optimiser.name == "prodigy" and ratio != 1:
        yield (
            f"adapter.plus_ratio = {ratio} is not possible: prodigy finds one rate for all. Leave "
            "it out, or take another optimiser, such as adamw."
        )
    if config.shard_base and config.quantisation != "none":
        yield (
            f'shard_base = true with quantisation = "{config.quantisation}" is not possible: '
            "choose one of the two."
        )
    if config.shard_base and config.prior.images and not config.prior.folder:
        yield (
            "shard_base = true needs class pictures that are drawn already, since one process "
            "draws them with the whole base: name prior.folder, or set prior.images = 0."
        )
    own = config.text_encoder.learning_rate
    if optimiser.name == "prodigy" and config.text_encoder.ratio and own != optimiser.learning_rate:
        yield (
            f"text_encoder.learning_rate = {own} is not possible: prodigy finds one rate for all, "
            f"and optimiser.learning_rate is {optimiser.learning_rate}. Leave it out."
        )


def _missing(config: TrainConfig, info: FamilyInfo) -> Iterator[str]:
    for name in belonging(config.objective, info):
        if getattr(config.objective, name) is None:
            yield f"objective.{name}"
    needed = {"rank", "alpha", "block_size"} & {*adapter_settings(config.adapter.type)}
    for name in sorted(needed):
        if getattr(config.adapter, name) is None:
            yield f"adapter.{name}"
    if _betas(config) and config.optimiser.betas is None:
        yield "optimiser.betas"
    if config.schedule.name == "polynomial" and config.schedule.power is None:
        yield "schedule.power"
    if config.schedule.name == "cosine_restarts" and config.schedule.cycles is None:
        yield "schedule.cycles"


def _betas(config: TrainConfig) -> int:
    """How many the optimiser takes."""
    own = kinds.read_data("optimisers")[config.optimiser.name]
    return len(own.get("betas", ()))


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
