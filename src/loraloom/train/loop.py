"""The training loop, top to bottom, as a stream of events.

pictures -> class pictures -> cache of latents and text conditions -> adapter in the base ->
steps with validation, samples and checkpoints -> the adapter of the best step.
Everything random is a function of (seed, step, picture), so a resumed run gives the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import astuple
from itertools import chain
from pathlib import Path

import torch

from loraloom.config import TrainConfig
from loraloom.errors import LossNotFinite
from loraloom.train import (
    allocator,
    batches,
    diagnosis,
    forward,
    inputs,
    machine,
    model,
    outcome,
    planning,
    validation,
)
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
from loraloom.train.planning import telling_exhaustion
from loraloom.train.precision import autocast, name_of
from loraloom.train.processes import is_first, leave
from loraloom.train.record import RunRecord
from loraloom.train.samples import sample
from loraloom.train.schedule import set_learning_rate
from loraloom.train.setup import Setup, prepare
from loraloom.train.stop import StopRequest, TrainingStopped


def run(
    config: TrainConfig, out: Path, *, resume: bool = False, stop: StopRequest | None = None
) -> Iterator[Event]:
    """Train into the folder `out`, which gets adapter.safetensors, adapters/, checkpoints/,
    samples/, config.toml, run.json and events.jsonl.

    With `resume`, go on from the last whole checkpoint of the same run. Ctrl-C or SIGTERM, or
    whoever holds `stop`, has it save after the step at hand and raise TrainingStopped; SIGUSR1 has
    it end with that step and write its adapter; SIGUSR2 and SIGURG have it draw its samples, or
    write a checkpoint and its adapter, after that step, which changes no number of the run. Raises
    OutputExists, CheckpointUnusable, LossNotFinite, DiskFull, and what is wrong with the pictures,
    the settings or the base.
    """
    with stop or StopRequest() as asked:
        yield from _run(config, out, asked, resume=resume)


def _run(config: TrainConfig, out: Path, stop: StopRequest, *, resume: bool) -> Iterator[Event]:
    record = RunRecord(out)
    if is_first():
        record.claim(resume=resume)
    setup = prepare(config, out)
    stop.check()
    over = record.finished()
    # What the settings name and the base lacks is told before the folder becomes a run's.
    expected = list(planning.announce(setup)) if setup.processes.first and not over else []
    if setup.processes.first:
        record.begin(config, setup.facts)
    if over is not None:
        yield over
        return
    if not setup.processes.first:
        # It trains along with the first, which alone tells and writes.
        yield from (e for e in _train(setup, stop, resume=resume) if isinstance(e, Finished))
        leave(setup.processes)
        return
    with record.events() as log:
        for event in chain(expected, _train(setup, stop, resume=resume)):
            if isinstance(event, Finished):
                record.finish(event)
            elif isinstance(event, Planned):
                record.plan(event)
            log.append(event)
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
        for stage in inputs.prepare(setup, tensors):
            yield stage
            stop.check()
    allocator.return_freed_memory()
    allocator.keep_freed_memory()
    examples = (*setup.examples, *inputs.class_examples(setup))
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
    if done == 0 and config.samples.every_steps and (processes.first or config.shard_base):
        yield from _draw(setup, live, tensors, 0)  # what the base draws by itself

    steps, every = config.schedule.steps, config.accumulation
    together = config.batch_size * processes.count
    plan = batches.plan(examples, together, steps * every, config.prior.share, config.seed)
    ruler = validation.ruler(setup, live, tensors)
    weights = list(live.trained.values())
    begun = time.monotonic()
    for step in range(done + 1, steps + 1):
        step_begun = time.monotonic()
        learning_rate = set_learning_rate(live.optimiser, config.schedule, step)
        mean_loss = 0.0
        for number in range(every):
            batch = plan[(step - 1) * every + number]
            # Checkpointed parts are computed again on the way back, with the same dropout.
            with forward.dropout(setup, live, step, number), telling_exhaustion(setup, step):
                share = forward.batch_loss(setup, live, tensors, batch, step, number) / every
                share.backward()
            mean_loss += float(share.detach())
        processes.average_gradients(weights)
        mean_loss, asked = processes.agree(mean_loss, stop.take(), setup.device)
        norm = float(torch.nn.utils.clip_grad_norm_(weights, config.optimiser.max_grad_norm))
        if not (math.isfinite(mean_loss) and math.isfinite(norm)):
            raise LossNotFinite(_not_finite(step, out))
        live.optimiser.step()
        live.optimiser.zero_grad(set_to_none=True)
        if live.average:
            live.average.update(live.trained, step)
        yield Step(step, mean_loss, learning_rate, time.monotonic() - step_begun)
        # Whoever has just been told may have asked; several processes agree in the next step.
        if processes.count == 1:
            asked = asked.also(stop.take())

        stopping = asked.stop
        done, last = step, asked.end or step == steps
        # A base that is shared out measures and draws in all processes; the first alone writes.
        if not processes.first and not config.shard_base:
            if stopping and not last:
                raise TrainingStopped(f"Stopped after step {step}; go on with --resume.")
            if last:
                break
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
            if processes.first:
                outcome.write_step(setup, live, step)
        if asked.samples or _due(step, config.samples.every_steps, last):
            for drawn in _draw(setup, live, tensors, step):
                yield drawn
                yield from watch.see(drawn)
        if asked.save and processes.first and not outcome.step_file(out, step).exists():
            outcome.write_step(setup, live, step)
        due = step % config.checkpoint.every_steps == 0 or last or stopping or asked.save
        if due and processes.first:
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
        if last:
            break

    if not processes.first:
        yield Finished(done, done, out / "adapter.safetensors", time.monotonic() - begun)
        return
    if not outcome.step_file(out, done).exists():
        outcome.write_step(setup, live, done)
    held_out = {e.step: e.held_out_loss for e in measured if e.held_out_loss is not None}
    best = validation.best_step(held_out, done)
    adapter = outcome.write_final(setup, live, best)
    seconds = seconds_before + time.monotonic() - begun
    yield Finished(done, best, adapter, seconds, machine.peak_mib(setup.device))


def _draw(setup: Setup, live: Model, tensors: TensorCache, step: int) -> Iterator[Event]:
    prompts = len(setup.config.samples.prompts)
    if not prompts:
        return
    yield Stage("samples", 0, prompts)
    sampled: Event
    try:
        with live.at_rest():
            sampled = sample(setup, live, tensors, step, write=setup.processes.first)
    except RuntimeError as error:
        # What is shared out is drawn by all processes or by none.
        if not machine.is_exhausted(error) or setup.config.shard_base:
            raise
        sampled = Warned(f"There was no memory for the samples of step {step}; they are left out.")
    yield Stage("samples", prompts, prompts)
    yield sampled


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
