"""What training reads beside the pictures: class pictures, latents, text conditions and masks."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from loraloom.families.parts import PartName, text_parts
from loraloom.train import cache, masking, prior
from loraloom.train.batches import Example
from loraloom.train.cache import TensorCache
from loraloom.train.events import Stage, Warned
from loraloom.train.setup import Setup
from loraloom.train.texts import cut_captions


def prepare(setup: Setup, tensors: TensorCache) -> Iterator[Stage | Warned]:
    """Make what is not there yet; what encodes it is freed at the end."""
    if not setup.class_pictures:
        yield from prior.generate(
            setup.config, setup.family, setup.base, setup.examples, setup.out / "prior",
            device=setup.device, dtype=setup.dtype,
        )  # fmt: skip
    everything = (*setup.examples, *setup.held_out, *class_examples(setup))
    yield from _encode(setup, tensors, everything)
    yield from masking.fill(setup, tensors, everything)


def class_examples(setup: Setup) -> tuple[Example, ...]:
    """The class pictures that were given, or those that were drawn."""
    drawn = setup.out / "prior"
    return setup.class_pictures or prior.examples_of(setup.config, setup.examples, drawn)


def _encode(
    setup: Setup, tensors: TensorCache, everything: tuple[Example, ...]
) -> Iterator[Stage | Warned]:
    """Latents and text conditions."""
    config, family = setup.config, setup.family
    latents = setup.wanted_latents(everything)
    # A text encoder that is trained is there all the time, and gives others by and by.
    frozen = not setup.text_encoder_steps
    captions = setup.wanted_captions(everything) if frozen else {}
    prompts = setup.wanted_prompts() if frozen else {}
    if all(key in tensors for key in (*latents, *captions, *prompts)):
        return
    vae = family.load(setup.base, only=["vae"], device=setup.device).vae
    yield from cache.fill_latents(tensors, family, vae, latents, setup.profile.frames)
    del vae
    texts: tuple[PartName, ...] = text_parts(family.info.parts) if captions else ()
    parts = setup.load(texts, setup.text_dtype or torch.float32)
    cut = cut_captions(family, parts, captions.values())
    if cut:
        yield Warned(
            f"{cut} of {len(captions)} captions are longer than the {family.info.token_limit} "
            f"tokens that {family.info.title} takes: what comes after them is not learnt."
        )
    yield from cache.fill_texts(tensors, family, parts, config.clip_skip, captions)
    yield from cache.fill_prompts(tensors, family, parts, config.clip_skip, prompts)
