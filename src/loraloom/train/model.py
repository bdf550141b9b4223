"""The base with an adapter in it, and all that changes while it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from loraloom.adapters.check import ModuleShapes, weight_shapes
from loraloom.adapters.state import AdapterState, from_peft
from loraloom.families.parts import Parts, text_parts
from loraloom.train import attention, lora, optimiser, sharded, tuners
from loraloom.train.average import Average
from loraloom.train.cache import TensorCache, condition
from loraloom.train.objective import Objective, objective_of, zero_terminal_snr
from loraloom.train.packed import pack_frozen
from loraloom.train.setup import Setup
from loraloom.train.streams import stream
from loraloom.train.texts import FrozenTexts, Texts, TrainedTexts


@dataclass
class Model:
    """Loaded parts, the trained weights by "component/name", and their optimiser."""

    parts: Parts
    trained: dict[str, nn.Parameter]
    optimiser: Optimizer
    texts: Texts
    objective: Objective
    components: dict[str, nn.Module]
    """Name in adapter files ("unet") -> model with an adapter."""
    constant: dict[str, nn.Parameter]
    """Weights of the adapter that are not trained, by "component/name"."""
    average: Average | None = None
    """Of the trained weights, where one is wanted."""

    def adapter(self) -> AdapterState:
        """The adapter as it is now, sharing memory with the model."""
        return {name: from_peft(module) for name, module in self.components.items()}

    def shapes(self) -> ModuleShapes:
        """The weights' shapes of each part that has an adapter."""
        return {name: weight_shapes(module) for name, module in self.components.items()}

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Within, the weights are those to be measured and saved; see `optimiser.averaged`."""
        with optimiser.averaged(self.optimiser) as changed:
            if changed:
                self.texts.forget()
            yield
        if changed:
            self.texts.forget()

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """Within, the base is alone, and nothing is learnt."""
        with torch.no_grad(), lora.switched_off(self.components.values()):
            yield

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint needs: adapter and optimiser state."""
        state = optimiser.state_tensors(self.optimiser)
        average = self.average.weights if self.average else {}
        return {
            **{f"adapter/{name}": p.data for name, p in self._weights.items()},
            **{f"average/{name}": tensor for name, tensor in average.items()},
            **{f"optimiser/{name}": tensor for name, tensor in state.items()},
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave."""
        lora.copy_into(self._weights, _under("adapter/", tensors))
        optimiser.restore(self.optimiser, _under("optimiser/", tensors))
        if self.average:
            self.average.restore(_under("average/", tensors))

    @property
    def _weights(self) -> dict[str, nn.Parameter]:
        return {**self.trained, **self.constant}


def load(setup: Setup, cache: TensorCache) -> Model:
    """Load what training needs and nothing else, and put the adapter in."""
    config, info = setup.config, setup.family.info
    parts = setup.load(("denoiser", "scheduler"), device="cpu" if config.shard_base else None)
    # The layout is for pictures only, and blocks of a convolution's weights would be copied.
    if not info.frames and config.adapter.type != "boft":
        parts.denoiser.to(memory_format=torch.channels_last)
    if config.objective.zero_terminal_snr:
        parts.scheduler = zero_terminal_snr(parts.scheduler)
    if config.gradient_checkpointing:
        parts.denoiser.enable_gradient_checkpointing()
    generator = stream(config.seed, "adapter")
    targets = tuners.targets_of(config.adapter, info, parts.denoiser)
    weights = lora.inject(parts.denoiser, config.adapter, targets, generator)
    trained, constant = _over("denoiser/", weights.trained), _over("denoiser/", weights.constant)
    if config.shard_base:
        own = [*trained.values(), *constant.values()]
        sharded.share_out(parts.denoiser, own, setup.processes, setup.device)
    else:
        pack_frozen(parts.denoiser)
    if (setup.device, setup.dtype) == ("cpu", torch.bfloat16):
        attention.with_float32_gradients()
    ratio = config.adapter.plus_ratio
    groups = weights.rates(config.optimiser.learning_rate, ratio)
    components = {info.components["denoiser"]: parts.denoiser}
    texts: Texts = FrozenTexts(lambda caption: condition(cache, setup.text_key(caption)))
    if setup.text_encoder_steps:
        parts.take(setup.load(text_parts(info.parts)))
        for part in info.trained_encoders:
            encoder = getattr(parts, part)
            weights = lora.inject(encoder, config.adapter, info.text_encoder_targets, generator)
            trained |= _over(f"{part}/", weights.trained)
            constant |= _over(f"{part}/", weights.constant)
            groups += weights.rates(config.text_encoder.learning_rate, ratio)
            components[info.components[part]] = encoder
        texts = TrainedTexts(setup.family, parts, config.clip_skip)
    tuners.check_ranks(config.adapter, components.values())
    return Model(
        parts=parts,
        trained=trained,
        optimiser=optimiser.build(groups, config.optimiser),
        texts=texts,
        objective=objective_of(
            parts.scheduler, config.objective, setup.device, setup.family.times(parts)
        ),
        components=components,
        constant=constant,
        average=Average(trained, config.ema_decay) if config.ema_decay else None,
    )


def _over(prefix: str, named: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    return {prefix + name: value for name, value in named.items()}


def _under(prefix: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}
