"""Complete settings from the few that a user gives.

Defaults come from the family, then the base's own loraloom.toml, then the kind and the number of
pictures; what the user sets wins. Defaults are the settings tree itself, in which `schedule` may
give in place of `steps`: `fixed` + `per_image` x pictures, or `per_image_of_many` above `few` of
them, kept between `least` and `most`. It knows four short names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from loraloom import families, kinds
from loraloom.config import PriorConfig, TextEncoderConfig, TrainConfig, Tree
from loraloom.config_tree import merge, refuse_unknown, validate
from loraloom.dataset import reference
from loraloom.errors import ConfigInvalid
from loraloom.families.info import BaseProfile, FamilyInfo
from loraloom.kinds import Kind
from loraloom.settings import resolve_base
from loraloom.train import fit

Preset = Literal["beginner", "standard", "expert"]

_SHORT_NAMES = {
    "steps": ("schedule", "steps"),
    "learning_rate": ("optimiser", "learning_rate"),
    "rank": ("adapter", "rank"),
    "alpha": ("adapter", "alpha"),
}
_COURSE = ("name", "power", "cycles")
_COURSES: dict[str, Tree] = {
    "constant": {"name": "constant"},
    "polynomial": {"power": 2.0},
    "cosine_restarts": {"cycles": 3},
}
_PRIOR_SHARE = PriorConfig.model_fields["share"].default
_TEXT_ENCODER_RATE = TextEncoderConfig.model_fields["learning_rate"].default
_VALIDATIONS_PER_RUN = 8
_LONGEST_WARMUP_STEPS = 100
_BLOCK_SIZE = 16  # divides the widths of all families' layers


def resolve(
    overrides: Mapping[str, Any], *, preset: Preset = "standard", keep: bool = True
) -> TrainConfig:
    """The full settings, reading the base's and the folder's facts from the disk.

    Without `keep` a stored dataset is only looked at, and not kept as a snapshot.

    Raises ConfigInvalid, BaseUnknown, and FolderMissing where the pictures' folder is not there;
    what is wrong in it is told when it is read, before training.
    """
    refuse_unknown(overrides)
    base = str(overrides.get("base", TrainConfig.model_fields["base"].default))
    family = families.detect(base)
    data = merge({"data": {}}, overrides)["data"]
    clips = family.info.frames is not None
    concepts = data.get("concepts")
    if concepts is None:
        folder = _named_folder(data.get("folder"), "data.folder")
        images, pinned = reference.count(folder, clips=clips), reference.pin(folder, keep=keep)
        if pinned:
            overrides = merge(pinned, overrides, {"data": pinned["data"]})
    else:
        images, concepts = _pin_concepts(concepts, clips=clips, keep=keep)
        overrides = merge(overrides, {"data": {"concepts": concepts}})
    return fill(overrides, family.info, family.profile(resolve_base(base)), images, preset)


def _named_folder(folder: object, setting: str) -> str | Path:
    if folder is None:
        raise ConfigInvalid(f"The setting {setting} is missing: name the folder of pictures.")
    if not isinstance(folder, str | Path):
        raise ConfigInvalid(
            f"{setting} = {folder!r} is not possible: the name of a folder is expected, as text "
            "in quotes."
        )
    return folder


def _pin_concepts(concepts: object, *, clips: bool, keep: bool) -> tuple[int, list[Tree]]:
    """How many pictures several concepts have, and their tables with stored sets pinned."""
    if not isinstance(concepts, list | tuple) or not all(isinstance(c, Mapping) for c in concepts):
        raise ConfigInvalid(
            "data.concepts is a list of tables: write [[data.concepts]] before the folder, trigger "
            "and repeats of each."
        )
    images, tables = 0, []
    for number, concept in enumerate(concepts):
        folder = _named_folder(concept.get("folder"), f"data.concepts.{number}.folder")
        pinned = reference.pin(folder, keep=keep)
        own = {key: value for key, value in pinned.items() if key != "data"}
        tables.append(merge(own, concept, pinned.get("data", {})))
        images += reference.count(folder, clips=clips)
    return images, tables


def fill(
    overrides: Mapping[str, Any],
    info: FamilyInfo,
    profile: BaseProfile,
    images: int,
    preset: Preset = "standard",
) -> TrainConfig:
    """The full settings for `images` pictures. Raises ConfigInvalid."""
    refuse_unknown(overrides)
    kind = _kind(overrides)
    tree = merge(_of_kind(info.defaults, kind), _of_kind(profile.defaults, kind))
    tree = merge(tree, _optimiser(tree, overrides))
    course = {key: value for key, value in tree["schedule"].items() if key in _COURSE}
    longer = _of_type(tree, overrides).get("steps", 1.0)
    tree["schedule"] = {"steps": _steps(tree["schedule"], images, preset, longer), **course}
    tree = merge({"kind": kind.value}, tree, _of_adapter(tree, overrides), overrides)
    config = validate(
        merge(_derived(tree, kind, info, profile, images), _objective(tree, info), tree)
    )
    if config.schedule.epochs is not None:
        return fill(_in_steps(overrides, config, images), info, profile, images, preset)
    fit.check(config, info)
    return config


def _in_steps(overrides: Mapping[str, Any], config: TrainConfig, images: int) -> Tree:
    """The overrides with schedule.steps in place of schedule.epochs."""
    schedule = {name: v for name, v in overrides["schedule"].items() if name != "epochs"}
    epochs = config.schedule.epochs or 0
    if "steps" in schedule:
        raise ConfigInvalid(
            f"schedule.steps = {schedule['steps']} and schedule.epochs = {epochs} both say how "
            "long to train: leave one of them out."
        )
    own = 1 - config.prior.share if config.prior.images else 1
    a_step = config.batch_size * config.accumulation * own
    seen = epochs * images * (1 - config.data.held_out_fraction)
    return {**overrides, "schedule": {**schedule, "steps": max(1, math.ceil(seen / a_step))}}


def fewest_steps(
    info: FamilyInfo, profile: BaseProfile, kind: Kind, images: int, adapter: str
) -> int:
    """The steps of the shortest preset for so many pictures."""
    tree = merge(_of_kind(info.defaults, kind), _of_kind(profile.defaults, kind))
    presets: tuple[Preset, ...] = get_args(Preset)
    longer = _of_type({}, {"adapter": {"type": adapter}}).get("steps", 1.0)
    return min(_steps(tree["schedule"], images, preset, longer) for preset in presets)


def _of_kind(defaults: Mapping[str, Any], kind: Kind) -> Tree:
    """The defaults that hold for every kind, then those of this one."""
    general = {key: v for key, v in defaults.items() if key not in {*Kind, "common"}}
    return merge(
        *(_long_names(t) for t in (general, defaults.get("common", {}), defaults.get(kind, {})))
    )


def _of_adapter(defaults: Tree, overrides: Mapping[str, Any]) -> Tree:
    """Defaults of its type; of one without rank: none of a rank, and layers that it can turn."""
    name, own = _type(defaults, overrides), _of_type(defaults, overrides)
    found: Tree = {"adapter": own.get("settings", {})}
    if name in ("oft", "boft"):
        turned = {**dict.fromkeys(("rank", "alpha")), "block_size": _BLOCK_SIZE}
        found["adapter"] = {**turned, **found["adapter"]}
    if name == "oft" and _table(defaults, "adapter").get("targets") == "full":
        found["adapter"]["targets"] = "blocks"
    if "class_pictures" in own:
        share = _table(defaults, "prior").get("share", _PRIOR_SHARE)
        found["prior"] = {"share": share * own["class_pictures"]}
    return found


def _of_type(defaults: Tree, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What differs for the type of adapter; see data/adapters.toml."""
    found: dict[str, Any] = kinds.read_data("adapters").get(_type(defaults, overrides), {})
    return found


def _type(defaults: Tree, overrides: Mapping[str, Any]) -> str:
    adapter = {**_table(defaults, "adapter"), **_table(overrides, "adapter")}
    return str(adapter.get("type", "lora"))


def _long_names(tree: Mapping[str, Any]) -> Tree:
    long: Tree = {}
    for key, value in tree.items():
        section, name = _SHORT_NAMES.get(key, (key, ""))
        long = merge(long, {section: {name: value} if name else value})
    return long


def _steps(schedule: Mapping[str, Any], images: int, preset: Preset, longer: float = 1.0) -> int:
    steps = schedule.get("steps")
    if steps is None:
        each = schedule[
            "per_image" if images <= schedule.get("few", images) else "per_image_of_many"
        ]
        steps = schedule.get("fixed", 0) + each * images
        steps = min(max(steps, schedule["least"]), schedule["most"])
    factor = float(kinds.read_data("presets")[preset]["steps"])
    return max(1, round(int(steps) * factor * longer))


def _derived(tree: Tree, kind: Kind, info: FamilyInfo, profile: BaseProfile, images: int) -> Tree:
    """Defaults that follow from other settings."""
    steps = tree["schedule"]["steps"]
    steps = steps if isinstance(steps, int) else 1
    own = class_words(str(tree.get("trigger", "")), kind, profile)
    usual = [] if info.frames else _prompts(tree, kind, own)  # a clip takes minutes
    prompts = _table(tree, "samples").get("prompts", usual)
    every = max(1, steps // _VALIDATIONS_PER_RUN)
    return {
        "adapter": {"alpha": _alpha(_table(tree, "adapter").get("rank"))},
        "schedule": {"warmup_steps": min(_LONGEST_WARMUP_STEPS, steps // 20)},
        "validation": {"every_steps": every},
        "samples": {"prompts": prompts, "every_steps": 2 * every if prompts else 0},
        "prior": {
            "images": _class_pictures(tree, kind, images),
            "class_words": "" if _table(tree, "data").get("concepts") else own,
        },
    }


def _prompts(tree: Tree, kind: Kind, own: str) -> list[str]:
    """Of the samples: the kind's, with each trigger; and the first without, which should stay as it
    is. `own`: what the base calls the subject."""
    concepts = _table(tree, "data").get("concepts") or [tree]
    triggers = [str(c.get("trigger", "")).strip() for c in concepts if isinstance(c, Mapping)]
    each = None if len(triggers) == 1 else 2
    called = [text for t in filter(None, triggers) for text in kinds.prompts(kind, t)[:each]]
    plain = kinds.prompts(kind, own)
    return [*called, plain[0]] if called else plain


def _alpha(rank: object) -> object:
    """As large as the rank; none beside a rank that will be refused, which alone is to be told."""
    try:
        return rank if float(str(rank)) > 0 else None
    except ValueError:
        return None


def _optimiser(tree: Tree, overrides: Mapping[str, Any]) -> Tree:
    """The optimiser's defaults, and the schedule's; the rate is the base's own, in proportion to
    what the optimiser and the type of adapter need."""
    own = kinds.read_data("optimisers")
    chosen, schedule = _table(overrides, "optimiser"), _table(overrides, "schedule")
    name = str({"name": "adamw", **_table(tree, "optimiser"), **chosen}["name"])
    defaults: dict[str, Any] = dict(own.get(name, {}))
    rate = defaults.pop("rate", 1.0) * _of_type(tree, overrides).get("rate", 1.0)
    defaults.pop("state_bytes", None)
    found: Tree = {"optimiser": defaults}
    if "learning_rate" in defaults:
        together = chosen.get("learning_rate", defaults["learning_rate"])
        found["text_encoder"] = {"learning_rate": together}
    elif rate != 1:
        for section in ("optimiser", "text_encoder"):
            base = _table(tree, section).get("learning_rate", _TEXT_ENCODER_RATE)
            found[section] = {**found.get(section, {}), "learning_rate": base * rate}
    course = "constant" if name == "schedulefree" else schedule.get("name")
    return merge(found, {"schedule": {**_COURSES.get(str(course), {})}})


def _objective(tree: Tree, info: FamilyInfo) -> Tree:
    """The objective's defaults, without those that would have no effect beside what is chosen."""
    defaults: Tree = kinds.read_data("objectives")[info.objective]
    chosen = _table(tree, "objective")
    unused: set[str] = set()
    if chosen.get("times") == "uniform":
        unused |= {"logit_mean", "logit_std"}
    if chosen.get("debiased"):
        unused |= {"min_snr_gamma"}
    if chosen.get("loss") != "huber":
        unused |= {"huber_c", "huber_schedule"}
    return {"objective": {key: v for key, v in defaults.items() if key not in unused}}


def _class_pictures(tree: Tree, kind: Kind, images: int) -> int:
    folder = _table(tree, "prior").get("folder")
    if folder:
        return reference.count(str(folder))
    return kinds.info(kind).prior_per_image * images


def class_words(trigger: str, kind: Kind, profile: BaseProfile) -> str:
    """What the base calls the subject of a trigger."""
    return kinds.own_words(trigger) or profile.class_words.get(kind, kinds.info(kind).class_words)


def _kind(overrides: Mapping[str, Any]) -> Kind:
    given = overrides.get("kind", Kind.CHARACTER)
    try:
        return Kind(given)
    except ValueError:
        allowed = ", ".join(Kind)
        raise ConfigInvalid(f"kind = {given!r} is not possible; allowed: {allowed}.") from None


def _table(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = tree.get(key)
    return value if isinstance(value, Mapping) else {}
