"""Everything that is decided before anything heavy is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from loraloom import families, kinds
from loraloom.config import TrainConfig
from loraloom.dataset import reference
from loraloom.dataset.folder import Dataset, with_trigger
from loraloom.errors import ConfigInvalid, NothingToTrain
from loraloom.families.base import Family
from loraloom.families.info import BaseProfile, FamilyInfo
from loraloom.families.parts import PartName, Parts, text_parts
from loraloom.settings import resolve_base
from loraloom.train import batches, clips, fit, optimiser, quantised, sharded
from loraloom.train.batches import Example, caption_variants
from loraloom.train.cache import latent_key, prompt_key, text_key
from loraloom.train.events import Warned
from loraloom.train.objective import zero_terminal_snr
from loraloom.train.precision import choose_device, choose_dtype, name_of
from loraloom.train.processes import Processes, join
from loraloom.train.recipe import fewest_steps


@dataclass(frozen=True)
class Setup:
    """What is trained, on what, where."""

    config: TrainConfig
    out: Path
    base: Path
    family: Family
    profile: BaseProfile
    dataset: Dataset
    examples: tuple[Example, ...]
    held_out: tuple[Example, ...]
    class_pictures: tuple[Example, ...]
    """Those of prior.folder; empty where they are to be drawn."""
    device: str
    dtype: torch.dtype
    fingerprints: dict[PartName, str]
    """Part -> SHA-256 of its files."""
    warnings: tuple[Warned, ...]
    processes: Processes = field(default_factory=Processes)

    @property
    def facts(self) -> dict[str, str]:
        """What decides the run's bytes beside its settings."""
        snapshot = {"snapshot": self.dataset.snapshot} if self.dataset.snapshot else {}
        return {
            "dataset": self.dataset.hash,
            **snapshot,
            **({"class_pictures": _digest(self.class_pictures)} if self.class_pictures else {}),
            "device": self.device,
            "dtype": name_of(self.dtype),
            **({"processes": str(self.processes.count)} if self.processes.count > 1 else {}),
            **{f"base_{part}": digest for part, digest in self.fingerprints.items()},
        }

    @property
    def text_dtype(self) -> torch.dtype | None:
        """What text encoders that are only asked are loaded in; None: float32, for exactness."""
        return self.dtype if self.family.info.large_texts else None

    def load(
        self,
        only: Collection[PartName],
        dtype: torch.dtype | None = None,
        device: str | None = None,
    ) -> Parts:
        """Parts of the base, quantised as the settings want it; in another number format or on
        another device than the run's own where one is given."""
        return quantised.load(
            self.family, self.base, only, dtype=dtype or self.dtype, device=device or self.device,
            quantisation=self.config.quantisation,
        )  # fmt: skip

    @property
    def text_encoder_steps(self) -> int:
        """How many steps, from the first, train the text encoder too."""
        return round(self.config.text_encoder.ratio * self.config.schedule.steps)

    def latent_key(self, example: Example, mirrored: bool) -> str:
        """Where the cache keeps an example's latents."""
        return latent_key(self.fingerprints["vae"], example, mirrored)

    def text_key(self, caption: str) -> str:
        """Where the cache keeps a caption's condition."""
        return text_key(self._encoders, self.config.clip_skip, caption)

    def prompt_key(self, prompt: str) -> str:
        """Where the cache keeps what the pipeline takes for a sample's prompt."""
        return prompt_key(self._encoders, self.config.clip_skip, prompt)

    @property
    def _encoders(self) -> str:
        encoders = "".join(self.fingerprints[part] for part in text_parts(self.fingerprints))
        if self.family.info.large_texts and self.config.quantisation != "none":
            encoders += self.config.quantisation
        return encoders

    def wanted_latents(self, examples: tuple[Example, ...]) -> dict[str, tuple[Example, bool]]:
        """Cache key -> example and mirroring, for all that training will ask for."""
        sides = (False, True) if self.config.data.mirror else (False,)
        return {self.latent_key(e, side): (e, side) for e in examples for side in sides}

    def masked(self, example: Example) -> bool:
        """Whether only a part of the example's picture counts."""
        return example.mask is not None and self.config.data.mask_floor < 1

    def wanted_captions(self, examples: tuple[Example, ...]) -> dict[str, str]:
        """Cache key -> caption, shuffled orders and the empty caption included."""
        captions = {"", *(example.caption for example in examples)}
        for example in examples:
            captions.update(caption_variants(example, self.config.data, self.config.seed))
        return {self.text_key(caption): caption for caption in sorted(captions)}

    def wanted_prompts(self) -> dict[str, str]:
        """Cache key -> prompt of the samples, which may be asked for at any step."""
        return {self.prompt_key(prompt): prompt for prompt in self.config.samples.prompts}


def prepare(config: TrainConfig, out: Path) -> Setup:
    """Read the pictures and the base's files. Raises what is wrong with either."""
    base, family, profile = find_base(config)
    optimiser.check(config.optimiser)
    device = choose_device()
    quantised.check(config.quantisation, device)
    processes = join(device)
    sharded.check(config, processes)
    dataset, changed = _read_pictures(config, clips=profile.frames is not None)
    clips.refuse_prior(dataset.items, config.prior)
    everything = batches.examples_of(dataset.items, config.data, profile)
    examples, held_out = batches.split(everything, config.data.held_out_fraction, config.seed)
    if not examples:
        raise NothingToTrain(
            f"data.held_out_fraction = {config.data.held_out_fraction} leaves no picture to train "
            f"on out of {len(everything)}. Lower it, or add pictures."
        )
    if config.objective.zero_terminal_snr:
        zero_terminal_snr(family.load(base, only=["scheduler"]).scheduler)
    return Setup(
        config=config,
        out=out,
        base=base,
        family=family,
        profile=profile,
        dataset=dataset,
        examples=examples,
        held_out=held_out,
        class_pictures=_class_pictures(config, profile),
        device=device,
        dtype=choose_dtype(config.precision, device, config.adapter.type),
        fingerprints={part: family.fingerprint(base, part) for part in family.info.folders},
        warnings=(
            *map(Warned, dataset.notes),
            *_warnings(config, everything, changed),
            *_short(config, family.info, profile, len(everything)),
            *map(Warned, _other_expert(config, family)),
            *map(Warned, clips.warnings(dataset.items, config.data, profile)),
        ),
        processes=processes,
    )


def find_base(config: TrainConfig) -> tuple[Path, Family, BaseProfile]:
    """The base's folder, its family (of the expert that is trained) and what its files say.

    Raises BaseUnknown, and ConfigInvalid for settings that do not fit the family.
    """
    base = resolve_base(config.base)
    family = families.detect(base)
    fit.check(config, family.info)
    if config.expert:
        family = family.expert(config.expert)
    return base, family, family.profile(base)


def _read_pictures(config: TrainConfig, *, clips: bool) -> tuple[Dataset, int]:
    """The pictures of the folder or of all concepts, and how many captions got a trigger."""
    if config.data.folder is not None:
        return with_trigger(reference.read(config.data.folder, clips=clips), config.trigger)
    read = [
        (concept, *with_trigger(reference.read(concept.folder, clips=clips), concept.trigger))
        for concept in config.data.concepts
    ]
    items = [
        replace(item, repeats=item.repeats * concept.repeats)
        for concept, dataset, _ in read
        for item in dataset.items
    ]
    sets = [dataset for _, dataset, _ in read]
    joined = Dataset(
        sets[0].root,
        tuple(items),
        "+".join(filter(None, (dataset.snapshot for dataset in sets))),
        tuple(note for dataset in sets for note in dataset.notes),
    )
    return joined, sum(changed for *_, changed in read)


def _class_pictures(config: TrainConfig, profile: BaseProfile) -> tuple[Example, ...]:
    """The first prior.images of prior.folder, by name. Raises what is wrong with them."""
    folder, count = config.prior.folder, config.prior.images
    if folder is None or not count:
        return ()
    items = reference.read(folder).items
    if len(items) < count:
        raise ConfigInvalid(
            f"prior.images = {count}, but {folder} holds {len(items)} class pictures: draw more "
            "with `loraloom dataset regularize`, or lower prior.images."
        )
    examples = batches.examples_of(items[:count], config.data, profile)
    return tuple(replace(e, weight=config.prior.weight, prior=True) for e in examples)


def _digest(examples: tuple[Example, ...]) -> str:
    return hashlib.sha256("".join(example.key for example in examples).encode()).hexdigest()


def _other_expert(config: TrainConfig, family: Family) -> Iterator[str]:
    others = [name for name in family.info.experts if name != config.expert]
    if others:
        yield (
            f"This run trains the expert {config.expert} of {family.info.title}; a second run with "
            f"expert = {others[0]} trains the other, and both files are used together."
        )


def _warnings(config: TrainConfig, examples: tuple[Example, ...], changed: int) -> Iterator[Warned]:
    if changed and config.data.concepts:
        yield Warned(f"{changed} captions had no trigger; their concept's was put first in each.")
    elif changed:
        yield Warned(f"No caption had the trigger {config.trigger!r}; it was put first in each.")
    moving, count = any(example.fps for example in examples), len(examples)
    sizes = kinds.clips() if moving else kinds.info(config.kind)
    if not sizes.minimum <= count <= sizes.maximum:
        what, of = ("clips", "a set of clips") if moving else ("pictures", f"kind = {config.kind}")
        yield Warned(
            f"{count} {what} are {'few' if count < sizes.minimum else 'many'} for {of}: "
            f"{sizes.recommended_from} to {sizes.recommended_to} are recommended."
        )
    small = sum(example.crop.enlarges for example in examples)
    if small:
        yield Warned(
            f"{small} of {count} pictures are smaller than the training resolution and will look "
            "soft: use larger ones, or lower data.resolution_px."
        )
    if config.schedule.warmup_steps > config.schedule.steps:
        yield Warned(
            f"schedule.warmup_steps = {config.schedule.warmup_steps} is more than "
            f"schedule.steps = {config.schedule.steps}: the learning rate never comes to its peak. "
            "Lower it."
        )


def _short(
    config: TrainConfig, info: FamilyInfo, profile: BaseProfile, images: int
) -> Iterator[Warned]:
    steps = config.schedule.steps
    fewest = fewest_steps(info, profile, config.kind, images, config.adapter.type)
    if steps < fewest:
        yield Warned(
            f"schedule.steps = {steps} is short: for {profile.title} and {images} pictures even "
            f"the shortest preset takes {fewest} steps. The adapter may learn too little."
        )
