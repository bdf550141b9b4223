"""The training loop, top to bottom, as a stream of events.

pictures -> class pictures -> cache of latents and text conditions -> adapter in the base ->
steps with validation, samples and checkpoints -> the adapter of the best step.
Everything random is a function of (seed, step, picture), so a resumed run gives the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from loraloom.config import TrainConfig
from loraloom.errors import LossNotFinite
from loraloom.families.base import Condition
from loraloom.families.parts import PartName, text_parts
from loraloom.train import (
    allocator,
    batches,
    cache,
    diagnosis,
    lora,
    loss,
    machine,
    masking,
    model,
    outcome,
    planning,
    prior,
    validation,
)
from loraloom.train.batches import Example
from loraloom.train.cache import TensorCache
from loraloom.train.checkpoint import Checkpoint, load_latest, save_checkpoint
from loraloom.train.events import (
    Event,
    Finished,
    Planned,
    Saved,
    Stage,
    Started,
    Step,
    Validated,
    Warned,
)
from loraloom.train.model import Model
from loraloom.train.objective import offset_noise
from loraloom.train.planning import telling_exhaustion
from loraloom.train.precision import autocast, name_of
from loraloom.train.processes import is_first, leave
from loraloom.train.record import RunRecord
from loraloom.train.samples import sample
from loraloom.train.schedule import set_learning_rate
from loraloom.train.setup import Setup, prepare
from loraloom.train.stop import StopRequest, TrainingStopped
from loraloom.train.streams import stream, uniform
from loraloom.train.texts import batch_condition, cut_captions


def run(
    config: TrainConfig, out: Path, *, resume: bool = False, stop: StopRequest | None = None
) -> Iterator[Event]:
    """Train into the folder `out`, which gets adapter.safetensors, adapters/, checkpoints/,
    samples/, config.toml, run.json and events.jsonl.

    With `resume`, go on from the last whole checkpoint of the same run. Ctrl-C or SIGTERM, or
    whoever holds `stop`, has it save after the step at hand and raise TrainingStopped. Raises
    OutputExists, CheckpointUnusable, LossNotFinite, DiskFull, and what is wrong with the pictures,
    the settings or the base.
    """
    record = RunRecord(out)
    if is_first():
        record.claim(resume=resume)
    setup = prepare(config, out)
    if setup.processes.first:
        record.begin(config, setup.facts)
    over = record.finished()
    if over is not None:
        yield over
        return
    if not setup.processes.first:
        yield from _follow(setup, resume=resume)
        return
    with stop or StopRequest() as asked, record.events() as log:
        for event in chain(planning.announce(setup), _train(setup, asked, resume=resume)):
            if isinstance(event, Finished):
                record.finish(event)
            elif isinstance(event, Planned):
                record.plan(event)
            log.append(event)
            yield event
    leave(setup.processes)


def _follow(setup: Setup, *, resume: bool) -> Iterator[Event]:
    """Train along with the first process, which alone tells and writes; yields how it ended."""
    with StopRequest() as asked:
        for event in _train(setup, asked, resume=resume):
            if isinstance(event, Finished):
                yield event
    leave(setup.processes)


def _train(setup: Setup, stop: StopRequest, *, resume: bool) -> Iterator[Event]:
    config, out = setup.config, setup.out
    processes, tensors = setup.processes, TensorCache(out / "cache")
    yield from setup.warnings
    with processes.first_goes_ahead():
        checkpoint, broken = load_latest(out / "checkpoints")
        for path in broken:
            yield Warned(f"A checkpoint was broken and moved aside to {path}; the one before is "
                         "used.")  # fmt: skip
        if resume and checkpoint is None:
            yield Warned(f"{out} holds no checkpoint to go on from; training begins at the first "
                         "step.")  # fmt: skip
        for stage in _prepare_inputs(setup, tensors):
            yield stage
            stop.check()
    allocator.return_freed_memory()
    allocator.keep_freed_memory()
    examples = (*setup.examples, *_class_examples(setup))
    live = model.load(setup, tensors)
    watch, measured = diagnosis.Watch(config), list[Validated]()
    done, seconds_before = 0, 0.0
    if checkpoint is not None:
        live.restore(checkpoint.tensors)
        done, seconds_before = checkpoint.step, checkpoint.state["seconds"]
        measured = [Validated(*values) for values in checkpoint.state["measured"]]
        for event in measured:
            watch.see(event)
    yield _started(setup, live, done + 1)

    steps, every = config.schedule.steps, config.accumulation
    together = config.batch_size * processes.count
    plan = batches.plan(examples, together, steps * every, config.prior.share, config.seed)
    ruler = _ruler(setup, live, tensors)
    weights = list(live.trained.values())
    begun = time.monotonic()
    for step in range(done + 1, steps + 1):
        step_begun = time.monotonic()
        learning_rate = set_learning_rate(live.optimiser, config.schedule, step)
        mean_loss = 0.0
        for number in range(every):
            batch = plan[(step - 1) * every + number]
            # Checkpointed parts are computed again on the way back, with the same dropout.
            with _dropout(setup, live, step, number), telling_exhaustion(setup, step):
                share = _batch_loss(setup, live, tensors, batch, step, number) / every
                share.backward()
            mean_loss += float(share.detach())
        processes.average_gradients(weights)
        mean_loss, stopping = processes.agree(mean_loss, stop.asked, setup.device)
        norm = float(torch.nn.utils.clip_grad_norm_(weights, config.optimiser.max_grad_norm))
        if not (math.isfinite(mean_loss) and math.isfinite(norm)):
            raise LossNotFinite(_not_finite(step, out))
        live.optimiser.step()
        live.optimiser.zero_grad(set_to_none=True)
        if live.average:
            live.average.update(live.trained, step)
        yield Step(step, mean_loss, learning_rate, time.monotonic() - step_begun)
        # Whoever has just been told may have asked; several processes agree in the next step.
        stopping = stopping or (stop.asked and processes.count == 1)

        last = step == steps
        if stopping and not last and not processes.first:
            raise TrainingStopped(f"Stopped after step {step}; go on with --resume.")
        if not processes.first:
            continue
        if _due(step, config.validation.every_steps, last):
            with autocast(setup.device, setup.dtype), live.at_rest():
                train_loss = ruler.measure(
                    live.parts.denoiser, setup.examples[: config.validation.subset]
                )
                held_out_loss = ruler.measure(live.parts.denoiser, setup.held_out)
            assert train_loss is not None
            measured.append(validation.validated(step, train_loss, held_out_loss))
            yield measured[-1]
            yield from watch.see(measured[-1])
            outcome.write_step(setup, live, step)
        if config.samples.prompts and _due(step, config.samples.every_steps, last):
            with live.at_rest():
                sampled = sample(
                    config.samples, setup.family, setup.base, setup.profile, live.parts,
                    out / "samples", step, clip_skip=config.clip_skip, text_dtype=setup.text_dtype,
                    frames=config.data.frames or 1,
                )  # fmt: skip
            yield sampled
            yield from watch.see(sampled)
        if step % config.checkpoint.every_steps == 0 or last or stopping:
            seconds = seconds_before + time.monotonic() - begun
            state = {"measured": [astuple(event) for event in measured], "seconds": seconds}
            path = save_checkpoint(
                out / "checkpoints",
                Checkpoint(step, live.tensors(), state),
                keep=config.checkpoint.keep,
            )
            yield Saved(step, path)
        if stopping and not last:
            raise TrainingStopped(f"Stopped after step {step}; go on with --resume.")

    if not processes.first:
        yield Finished(steps, steps, out / "adapter.safetensors", time.monotonic() - begun)
        return
    if not outcome.step_file(out, steps).exists():
        outcome.write_step(setup, live, steps)
    held_out = {e.step: e.held_out_loss for e in measured if e.held_out_loss is not None}
    best = validation.best_step(held_out, steps)
    adapter = outcome.write_final(setup, live, best)
    seconds = seconds_before + time.monotonic() - begun
    yield Finished(steps, best, adapter, seconds, machine.peak_mib(setup.device))


def _class_examples(setup: Setup) -> tuple[Example, ...]:
    """The class pictures that were given, or those that were drawn."""
    drawn = setup.out / "prior"
    return setup.class_pictures or prior.examples_of(setup.config, setup.examples, drawn)


def _prepare_inputs(setup: Setup, tensors: TensorCache) -> Iterator[Stage | Warned]:
    """Class pictures, latents, text conditions and masks."""
    yield from _encode_inputs(setup, tensors)
    everything = (*setup.examples, *setup.held_out, *_class_examples(setup))
    yield from masking.fill(setup, tensors, everything)


def _encode_inputs(setup: Setup, tensors: TensorCache) -> Iterator[Stage | Warned]:
    """Class pictures, latents and text conditions; what encodes them is freed at the end."""
    config, family = setup.config, setup.family
    if not setup.class_pictures:
        yield from prior.generate(
            config, family, setup.base, setup.examples, setup.out / "prior",
            device=setup.device, dtype=setup.dtype,
        )  # fmt: skip
    everything = (*setup.examples, *setup.held_out, *_class_examples(setup))
    latents = setup.wanted_latents(everything)
    captions = {} if setup.text_encoder_steps else setup.wanted_captions(everything)
    if all(key in tensors for key in (*latents, *captions)):
        return
    vae = family.load(setup.base, only=["vae"], device=setup.device).vae
    yield from cache.fill_latents(tensors, family, vae, latents, setup.profile.frames)
    del vae
    texts: tuple[PartName, ...] = text_parts(family.info.parts) if captions else ()
    parts = family.load(setup.base, only=texts, dtype=setup.text_dtype, device=setup.device)
    cut = cut_captions(family, parts, captions.values())
    if cut:
        yield Warned(
            f"{cut} of {len(captions)} captions are longer than the {family.info.token_limit} "
            f"tokens that {family.info.title} takes: what comes after them is not learnt."
        )
    yield from cache.fill_texts(tensors, family, parts, config.clip_skip, captions)


def _batch_loss(
    setup: Setup,
    live: Model,
    tensors: TensorCache,
    batch: Sequence[Example],
    step: int,
    number: int,
) -> Tensor:
    """The weighted loss of one batch: a scalar with a graph behind it."""
    config, learned = setup.config, live.objective
    mine = setup.processes.share(len(batch))
    places = range(number * len(batch), (number + 1) * len(batch))[mine]
    whole, batch = len(batch), batch[mine]
    picks = [
        batches.pick(example, config.data, config.seed, step, place)
        for example, place in zip(batch, places, strict=True)
    ]
    latents, noises, masks = [], [], []
    for pick in picks:
        latent = tensors[setup.latent_key(pick.example, pick.mirrored)]
        mean, std = latent["mean"], latent["std"]
        latents.append(mean + std * torch.randn(mean.shape, generator=pick.generator))
        noise = torch.randn(mean.shape, generator=pick.generator)
        noises.append(offset_noise(noise, pick.generator, learned.noise_offset))
        masks.append(masking.weights(setup, tensors, pick.example, pick.mirrored, mean))
    x0 = torch.stack(latents).to(setup.device)  # (B, C, …)
    noise = torch.stack(noises).to(setup.device)
    start = uniform(stream(config.seed, "timesteps", step, number))
    t = learned.draw(start, whole, x0[0, 0].numel() // setup.family.info.patch**2)[mine]
    x_t = learned.add_noise(x0, noise, t).to(setup.dtype)
    weight = learned.weight(t) * torch.tensor([e.weight for e in batch], device=setup.device)

    trained = step <= setup.text_encoder_steps
    with autocast(setup.device, setup.dtype):
        conditions = live.texts([pick.caption for pick in picks], trained=trained)
        sizes = [pick.example.geometry(pick.mirrored) for pick in picks]
        condition = batch_condition(setup.family, conditions, sizes, x_t)
        predicted = setup.family.predict(
            live.parts.denoiser, x_t, t, condition, timesteps=learned.length
        )
    wanted = learned.target(x0, noise, t)
    cells = masking.stack(masks, x0)
    each = loss.of_pictures(config.objective, predicted, wanted, learned.noise_ratio(t), cells)
    return (weight * each).mean()


def _dropout(setup: Setup, live: Model, step: int, number: int) -> AbstractContextManager[None]:
    """The adapters' dropout in one batch of one step."""
    # Conditions that are kept must not depend on the step that first asked for them.
    trained = step <= setup.text_encoder_steps
    dropping = live.components.values() if trained else [live.parts.denoiser]
    others = [setup.processes.number] if setup.processes.count > 1 else []
    generator = stream(setup.config.seed, "dropout", step, number, *others)
    return lora.dropout(dropping, setup.config.adapter.dropout, generator)


def _ruler(setup: Setup, live: Model, tensors: TensorCache) -> validation.Ruler:
    """Measures the live model on unmirrored mean latents and whole captions."""

    def latent(example: Example) -> Tensor:
        return tensors[setup.latent_key(example, False)]["mean"].to(setup.device)

    def condition(example: Example) -> Condition:
        return live.texts([example.caption], trained=False)[0]

    def mask(example: Example) -> Tensor | None:
        found = masking.weights(setup, tensors, example, False, latent(example))
        return None if found is None else found.to(setup.device)

    return validation.Ruler(
        setup.config.validation,
        setup.family,
        live.objective,
        setup.config.seed,
        latent,
        condition,
        mask,
        setup.dtype,
    )


def _started(setup: Setup, live: Model, first_step: int) -> Started:
    return Started(
        steps=setup.config.schedule.steps,
        first_step=first_step,
        items=len(setup.examples),
        held_out=len(setup.held_out),
        prior_images=setup.config.prior.images,
        trainable=sum(weight.numel() for weight in live.trained.values()),
        precision=name_of(setup.dtype),
        device=setup.device,
        effective_learning_rate=setup.config.effective_learning_rate,
    )


def _due(step: int, every: int, last: bool) -> bool:
    return every > 0 and (step % every == 0 or last)


def _not_finite(step: int, out: Path) -> str:
    kept, _ = load_latest(out / "checkpoints")
    saved = f"The checkpoint of step {kept.step} is kept" if kept else "Nothing was saved before"
    return (
        f"The loss or its gradient became infinite or NaN in step {step}. {saved}. Train again "
        "with a lower optimiser.learning_rate, or with precision = float32."
    )
