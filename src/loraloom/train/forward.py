"""The way forward through the model: the loss of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from loraloom.families.base import Condition
from loraloom.train import batches, lora, loss, masking
from loraloom.train.batches import Example
from loraloom.train.cache import TensorCache
from loraloom.train.model import Model
from loraloom.train.objective import offset_noise
from loraloom.train.precision import autocast
from loraloom.train.setup import Setup
from loraloom.train.streams import stream, uniform
from loraloom.train.texts import batch_condition


def batch_loss(
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
    whole, batch = batch, batch[mine]
    picks = [
        batches.pick(example, config.data, config.seed, step, place)
        for example, place in zip(batch, places, strict=True)
    ]
    captions = [pick.caption for pick in picks]
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
    t = learned.draw(start, len(whole), x0[0, 0].numel() // setup.family.info.patch**2)[mine]
    x_t = learned.add_noise(x0, noise, t).to(setup.dtype)
    weight = learned.weight(t) * torch.tensor([e.weight for e in batch], device=setup.device)

    sizes = [pick.example.geometry(pick.mirrored) for pick in picks]

    def predict(conditions: Sequence[Condition]) -> Tensor:
        condition = batch_condition(setup.family, conditions, sizes, x_t)
        return setup.family.predict(
            live.parts.denoiser, x_t, t, condition, timesteps=learned.length
        )

    trained = step <= setup.text_encoder_steps
    with autocast(setup.device, setup.dtype):
        conditions = live.texts(captions, trained=trained)
        predicted = predict(conditions)
    wanted, ratio = learned.target(x0, noise, t), learned.noise_ratio(t)
    cells = masking.stack(masks, x0)
    each = loss.of_pictures(config.objective, predicted, wanted, ratio, cells)
    if masking.holds_base(setup, whole):
        with live.without_adapter(), autocast(setup.device, setup.dtype):
            of_base = predict(live.texts.of_base(captions))
        if cells is not None:
            outside = loss.of_pictures(config.objective, predicted, of_base, ratio, 1 - cells)
            each = each + config.data.mask_prior * outside
    return (weight * each).mean()


def dropout(setup: Setup, live: Model, step: int, number: int) -> AbstractContextManager[None]:
    """The adapters' dropout in one batch of one step."""
    # Conditions that are kept must not depend on the step that first asked for them.
    trained = step <= setup.text_encoder_steps
    dropping = live.components.values() if trained else [live.parts.denoiser]
    others = [setup.processes.number] if setup.processes.count > 1 else []
    generator = stream(setup.config.seed, "dropout", step, number, *others)
    return lora.dropout(dropping, setup.config.adapter.dropout, generator)
