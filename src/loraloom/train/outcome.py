"""The adapter files that a run leaves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from loraloom.adapters import check, file, peft_folder
from loraloom.adapters.metadata import AdapterMetadata
from loraloom.adapters.naming import layouts_of
from loraloom.families.info import Layout
from loraloom.train.average import standing_in
from loraloom.train.model import Model
from loraloom.train.precision import name_of
from loraloom.train.setup import Setup


def step_file(out: Path, step: int) -> Path:
    """Where the adapter after a step is kept, to choose from."""
    return out / "adapters" / f"step-{step:06d}.safetensors"


def average_file(out: Path, step: int) -> Path:
    """Where the average of the adapter up to a step is kept."""
    return out / "adapters" / f"step-{step:06d}-ema.safetensors"


def write_step(setup: Setup, model: Model, step: int) -> Path:
    """Keep the adapter as it is after `step`. Raises DiskFull."""
    path = step_file(setup.out, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    layout, strings = _layouts(setup)[0], metadata(setup, model, step).to_strings()
    with model.at_rest():
        file.write(path, model.adapter(), layout, strings)
    if model.average:
        with standing_in(model.trained, model.average.weights):
            file.write(average_file(setup.out, step), model.adapter(), layout, strings)
    return path


def write_final(setup: Setup, model: Model, step: int) -> Path:
    """Write the adapter of `step` in each layout that its users read, checked against the base."""
    shapes = model.shapes()
    state, strings = file.read(step_file(setup.out, step), shapes)
    paths = {layout: setup.out / f"adapter-{layout}.safetensors" for layout in _layouts(setup)}
    paths[_layouts(setup)[0]] = setup.out / "adapter.safetensors"
    check.check_keys(step_file(setup.out, step), shapes)
    for layout, path in paths.items():
        file.write(path, state, layout, strings)
    if setup.config.adapter.type not in ("lora", "dora"):
        modules = {name: dict(part.named_modules()) for name, part in model.components.items()}
        peft_folder.write(setup.out / "adapter-peft", state, modules)
    if model.average:
        state, strings = file.read(average_file(setup.out, step), shapes)
        file.write(setup.out / "adapter-ema.safetensors", state, _layouts(setup)[0], strings)
    return setup.out / "adapter.safetensors"


def metadata(setup: Setup, model: Model, step: int) -> AdapterMetadata:
    """What the file says of the run; nothing in it depends on when or where it ran."""
    config, info = setup.config, setup.family.info
    px = config.data.resolution_px or setup.profile.native_px
    sizes = Counter((e.crop.bucket.width_px, e.crop.bucket.height_px) for e in setup.examples)
    trains_text = setup.text_encoder_steps > 0
    return AdapterMetadata(
        title=config.about.title or ", ".join(config.triggers) or setup.dataset.root.resolve().name,
        base_name=setup.profile.title,
        base_version=info.base_version,
        architecture=setup.profile.architecture,
        prediction_type=model.objective.prediction_type,
        trigger=", ".join(config.triggers),
        adapter_type=config.adapter.type,
        rank=config.adapter.rank or config.adapter.block_size or 0,
        alpha=config.adapter.alpha,
        width_px=px,
        height_px=px,
        steps=config.schedule.steps,
        step=step,
        seed=config.seed,
        batch_size=config.batch_size,
        accumulation=config.accumulation,
        precision=name_of(setup.dtype),
        learning_rate=config.optimiser.learning_rate,
        text_encoder_learning_rate=config.text_encoder.learning_rate if trains_text else None,
        optimiser=config.optimiser.name,
        schedule=config.schedule.name,
        warmup_steps=config.schedule.warmup_steps,
        captions=[example.caption for example in setup.examples],
        buckets=dict(sizes),
        regularisation_images=config.prior.images,
        dataset_hash=setup.dataset.hash,
        recipe={"base": Path(config.base).expanduser().resolve().name, **config.shaping()},
        min_snr_gamma=config.objective.min_snr_gamma or None,
        noise_offset=config.objective.noise_offset or 0.0,
        clip_skip=config.clip_skip,
        caption_dropout=config.data.caption_dropout,
        shuffle_tags=config.data.shuffle_tags,
        keep_tags=config.data.keep_tags,
        mirror=config.data.mirror,
        prior_weight=config.prior.weight,
        max_grad_norm=config.optimiser.max_grad_norm,
        dropout=config.adapter.dropout,
        description=config.about.description,
        tags=config.about.tags,
        author=config.about.author,
        licence=config.about.licence,
    )


def _layouts(setup: Setup) -> tuple[Layout, ...]:
    return layouts_of(setup.config.adapter.type, setup.family.info)
