"""A run before its start: complete settings, and what stands in its way or should be known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from shutil import disk_usage
from typing import Any

from loraloom import families, kinds
from loraloom.captions.tokens import light_counter
from loraloom.captions.trigger import common_words
from loraloom.config import TrainConfig, Tree
from loraloom.dataset import reference
from loraloom.errors import BaseUnknown, ConfigInvalid, LoraloomError
from loraloom.families.info import BaseProfile, FamilyInfo
from loraloom.kinds import Kind
from loraloom.settings import STARTER, base_folders, data_folder, resolve_base
from loraloom.studio import readiness
from loraloom.studio.datasets import Datasets, folders
from loraloom.studio.plans import Plan, Plans
from loraloom.studio.readiness import Readiness
from loraloom.train import recipe
from loraloom.train.recipe import Preset

NEEDS_TRIGGER = frozenset((Kind.CHARACTER, Kind.OBJECT, Kind.CONCEPT))
"""Kinds that have to be called by a word of their own."""


@dataclass(frozen=True)
class Remark:
    """Something about a start."""

    about: str
    """A stable name: dataset, captions, readiness, trigger, base, settings, memory."""
    sentence: str


@dataclass(frozen=True)
class Pictures:
    """What would be trained on."""

    count: int
    drawn: int
    """With repeats."""
    bare: int = 0
    """Without caption."""
    clips: int = 0
    triggers: tuple[str, ...] = ()
    """Of its concepts."""


@dataclass(frozen=True)
class Draft:
    """What would be started."""

    config: TrainConfig
    """Complete; where the settings cannot be used, those of the recipe."""
    info: FamilyInfo
    profile: BaseProfile
    pictures: Pictures | None
    checked: tuple[Readiness, ...]
    """The last check of each stored dataset."""
    blocking: tuple[Remark, ...]
    warnings: tuple[Remark, ...]

    @property
    def epochs(self) -> float | None:
        """How often each picture would be seen, at most; None without pictures."""
        if self.pictures is None or not self.pictures.drawn:
            return None
        config = self.config
        seen = config.schedule.steps * config.batch_size * config.accumulation
        own = 1 - config.prior.share if config.prior.images else 1
        return seen * own / (self.pictures.drawn * (1 - config.data.held_out_fraction))


def look(tree: Tree, preset: Preset = "standard", plans: Plans | None = None) -> Draft:
    """What the settings come to; nothing is written. Wrong ones become remarks."""
    blocking: list[Remark] = []
    base = str(tree.get("base") or STARTER)
    try:
        family = families.detect(base)
    except BaseUnknown as error:
        blocking.append(Remark("base", str(error)))
        base, tree = STARTER, {**tree, "base": STARTER}
        family = families.detect(base)
    info, profile = family.info, family.profile(resolve_base(base))
    pictures: Pictures | None = None
    data = tree.get("data")
    data = data if isinstance(data, Mapping) else {}
    if not (data.get("folder") or data.get("concepts")):
        blocking.append(Remark("dataset", "Choose the dataset to learn from."))
    else:
        try:
            pictures = _pictures(data, clips=info.frames is not None)
        except LoraloomError as error:
            blocking.append(Remark("dataset", str(error)))
    config, wrong = _complete(tree, info, profile, preset, pictures)
    blocking += wrong
    checked: tuple[Readiness, ...] = ()
    if pictures is not None:
        blocking += _missing(config, info, pictures)
        own = [one.trigger for one in config.data.concepts] or [config.trigger]
        named = dict(zip(folders({"data": data}), own, strict=False))
        checked = tuple(readiness.look(named, config.kind, config.base, info.id))
        blocking += _unready(checked)
    if not wrong and plans is not None and (plan := plans.known(config)):
        blocking += _does_not_fit(plan)
    return Draft(
        config, info, profile, pictures, checked, tuple(blocking),
        tuple(_warnings(config, pictures)),
    )  # fmt: skip


def _does_not_fit(plan: Plan) -> Iterator[Remark]:
    if not plan.fits:
        yield Remark(
            "memory", f"It needs about {plan.unchanged.peak_mib / 1024:.1f} GiB of memory, "
            f"and {plan.card} has {plan.available_mib / 1024:.1f} GiB.",
        )  # fmt: skip
    free_mib = disk_usage(data_folder()).free >> 20
    if plan.unchanged.disk_mib > free_mib:
        yield Remark(
            "disk", f"It writes up to {plan.unchanged.disk_mib / 1024:.1f} GiB of checkpoints and "
            f"adapters, and the disk has {free_mib / 1024:.1f} GiB free. Free some space, lower "
            "checkpoint.keep, or raise validation.every_steps.",
        )  # fmt: skip


def own_default(tree: Tree, name: str, draft: Draft, preset: Preset) -> object:
    """What a setting would be if it were left out."""
    rest = without(tree, name)
    config, _ = _complete(rest, draft.info, draft.profile, preset, draft.pictures)
    return value_of(config, name)


def without(tree: Tree, name: str) -> Tree:
    """The settings less one, by its dotted name."""
    section, _, key = name.rpartition(".")
    if not section:
        return {k: v for k, v in tree.items() if k != key}
    table = tree.get(section)
    return {**tree, section: {k: v for k, v in table.items() if k != key}} if table else tree


def value_of(config: TrainConfig, name: str) -> Any:
    """A setting by its dotted name."""
    found: Any = config
    for part in name.split("."):
        found = getattr(found, part)
    return found


def refuse_paths(tree: Tree, datasets: Datasets) -> None:
    """Raise ConfigInvalid where settings name what not everybody may.

    Folders of this machine are the studio's owners' to name, and stored datasets of those who may
    read them.
    """
    if datasets.person.is_owner:
        return
    named = [folder for folder in folders(tree) if not _is_open(folder, datasets)]
    prior = tree.get("prior")
    if isinstance(prior, Mapping) and prior.get("folder"):
        named.append(str(prior["folder"]))
    if tree.get("base", STARTER) not in base_folders():
        named.append(str(tree["base"]))
    if named:
        raise ConfigInvalid(
            f"{named[0][:200]!r} is not possible here: name a stored dataset of yours, or one that "
            "all may see, and an installed base. Only an owner of this studio may name folders."
        )


def _is_open(folder: str, datasets: Datasets) -> bool:
    """Whether it names a stored dataset that the person may read."""
    found = reference.REFERENCE.fullmatch(folder)
    return found is not None and reference.is_stored(folder) and datasets.has(found[1])


def _complete(
    tree: Tree, info: FamilyInfo, profile: BaseProfile, preset: Preset, pictures: Pictures | None
) -> tuple[TrainConfig, list[Remark]]:
    """The settings, or where they are wrong the recipe's own with what is wrong."""
    if pictures is not None:
        try:
            return recipe.resolve(tree, preset=preset, keep=False), []
        except LoraloomError as error:
            wrong = [Remark("settings", line) for line in str(error).split("\n")]
    else:
        wrong = []
    data = tree.get("data")
    kept = {k: v for k, v in data.items() if k not in ("folder", "concepts")} if data else {}
    usable = {**tree, "data": {**kept, "folder": "."}}
    try:
        kind = Kind(str(tree.get("kind", Kind.CHARACTER)))
    except ValueError:
        kind = Kind.CHARACTER
    images = pictures.count if pictures else kinds.info(kind).recommended_from
    try:
        return recipe.fill(usable, info, profile, images, preset), wrong
    except LoraloomError as error:
        wrong = wrong or [Remark("settings", line) for line in str(error).split("\n")]
    plain: Tree = {"base": str(tree.get("base") or STARTER), "kind": kind.value}
    if info.experts:
        plain["expert"] = info.experts[0]
    return recipe.fill({**plain, "data": {"folder": "."}}, info, profile, images, preset), wrong


def _pictures(data: Mapping[str, Any], *, clips: bool) -> Pictures:
    """Raises what is wrong with a folder or a stored dataset."""
    concepts = data.get("concepts")
    if concepts:
        found = [_of_one(str(concept["folder"]), clips=clips) for concept in concepts]
        given = [str(concept.get("trigger", "")) for concept in concepts]
        return Pictures(
            sum(one.count for one in found),
            sum(
                one.drawn * int(concept.get("repeats", 1))
                for one, concept in zip(found, concepts, strict=True)
            ),
            sum(one.bare for one in found),
            sum(one.clips for one in found),
            tuple(filter(None, [*given, *(t for one in found for t in one.triggers)])),
        )
    return _of_one(str(data["folder"]), clips=clips)


def _of_one(folder: str, *, clips: bool) -> Pictures:
    if not reference.is_stored(folder):
        count = reference.count(folder, clips=clips)
        return Pictures(count, count)
    _, contents = reference.open_contents(folder)
    repeats = {concept.name: concept.repeats for concept in contents.concepts}
    return Pictures(
        len(contents.pictures),
        sum(repeats.get(picture.concept, 1) for picture in contents.pictures),
        sum(not picture.caption for picture in contents.pictures),
        sum(picture.is_clip for picture in contents.pictures),
        tuple(concept.trigger for concept in contents.concepts if concept.trigger),
    )


def _missing(config: TrainConfig, info: FamilyInfo, pictures: Pictures) -> Iterator[Remark]:
    """What the trainer would refuse, or train in vain."""
    if not pictures.count:
        yield Remark("dataset", "The dataset holds no picture yet.")
    if pictures.bare:
        yield Remark(
            "captions",
            f"{pictures.bare} of {pictures.count} pictures have no caption yet.",
        )
    if pictures.clips and info.frames is None:
        yield Remark(
            "dataset",
            f"{pictures.clips} of them are clips, and this base learns from pictures: choose a "
            "base of video, or take pictures out of the clips.",
        )
    if config.kind in NEEDS_TRIGGER and not config.triggers and not pictures.triggers:
        yield Remark(
            "trigger",
            "Give it a trigger: the words that call it in prompts, such as \u201cohwx woman\u201d.",
        )


def _unready(checked: Iterable[Readiness]) -> Iterator[Remark]:
    """Errors that the check of this state has found."""
    for one in checked:
        if not one.errors:
            continue
        found = one.errors[0]
        where = found.item or one.dataset
        if len(one.errors) == 1:
            yield Remark(
                "readiness",
                f"The check of {one.dataset} found an error, in {where}: {found.message} Mend it, "
                "and check again.",
            )
        else:
            yield Remark(
                "readiness",
                f"The check of {one.dataset} found {len(one.errors)} errors; the first, in "
                f"{where}: {found.message} Mend them, and check again.",
            )


def _warnings(config: TrainConfig, pictures: Pictures | None) -> Iterator[Remark]:
    if pictures is not None and pictures.count:
        sizes = kinds.clips() if pictures.clips else kinds.info(config.kind)
        least, most = sizes.recommended_from, sizes.recommended_to
        if pictures.count < sizes.minimum:
            yield Remark(
                "dataset",
                f"{pictures.count} pictures are few for this kind: {least} to {most} are "
                "recommended.",
            )
        elif pictures.count > sizes.maximum:
            yield Remark(
                "dataset",
                f"{pictures.count} pictures are many for this kind: {least} to {most} are "
                "recommended.",
            )
    counter = light_counter(str(config.base))
    ids, size = (counter.ids, counter.vocabulary_size) if counter else (None, 0)
    if config.trigger and common_words(config.trigger, ids, size):
        yield Remark(
            "trigger",
            "Every word of the trigger is a common one, which the base knows already: add a rare "
            "one, such as \u201cohwx\u201d.",
        )
    if config.schedule.warmup_steps > config.schedule.steps:
        yield Remark("settings", "The warm-up is longer than the run.")
