"""The text encoder learns to say back what a caption says, before and while it helps to draw.

Stable Diffusion's text encoder comes trained; ours starts from nothing. Left to the picture's error
alone it keeps what fills the picture (the place, the light) and drops the rest, and what it does
not pass on the denoiser can never ask for. So the states at a caption's end must tell every
attribute to a linear layer.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from loraloom.starter.judge import READS, judge_loss, labels
from loraloom.starter.training.muon import muon_and_adamw
from loraloom.starter.training.pictures import SPLITS, scene_of
from loraloom.starter.training.words import TOKEN_LIMIT
from loraloom.starter.world.scene import context_phrases, identity_phrase

EMPTY_SHARE, STRANGE_WORD_SHARE, FORGET_SHARE = 0.1, 0.15, 0.1
STEPS, BATCH, RATE = 1_000, 64, 2e-3


def training_caption(index: int, rng: random.Random) -> str:
    """The caption of a base picture as training words it: sometimes empty, with some phrases
    left out, or with a strange word before the subject, so that unknown words mean nothing yet."""
    if rng.random() < EMPTY_SHARE:
        return ""
    scene = scene_of("base", index)
    said = context_phrases(scene)
    if rng.random() < 0.4:
        said = [words for words in said if rng.random() > FORGET_SHARE * 2]
    subject = identity_phrase(scene)
    if rng.random() < 0.15:
        subject = subject.split(", ")[0]
    if rng.random() < STRANGE_WORD_SHARE:
        strange = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 6)))
        subject = f"{strange} {subject}"
    return ", ".join([subject, *said])


class Naming(nn.Module):
    """One linear layer an attribute over a state at the end of a caption."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(READS[name])) for name in READS})

    def forward(
        self,
        context: Tensor,
        tokens: Tensor,
        wanted: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> Tensor:
        """Cross entropy summed over attributes.

        `context` (B, tokens, width), `tokens` (B, tokens); any state from the end token on is
        read, since the denoiser attends to them all.
        """
        rows = torch.arange(len(tokens))
        ends = (tokens == tokens[:, -1:]).int().argmax(dim=1)
        reach = torch.rand(len(tokens), generator=generator) * (tokens.shape[1] - ends)
        states = context[rows, ends + reach.long()]
        return judge_loss({n: head(states).float() for n, head in self.heads.items()}, wanted)


def attributes_of(indices: Sequence[int], captions: Sequence[str]) -> dict[str, Tensor]:
    """Value indices of base pictures by attribute; -1 where unseen or nothing is said."""
    rows = [labels(scene_of("base", index)) for index in indices]
    said = [bool(caption) for caption in captions]
    return {
        name: torch.tensor([row[name] if s else -1 for row, s in zip(rows, said, strict=True)])
        for name in READS
    }


def learn_to_name(base: Any, tokenizer: CLIPTokenizer, steps: int = STEPS) -> float:
    """Train `base.text_encoder` and `base.naming` on captions alone; the last mean loss."""
    both = nn.ModuleList([base.text_encoder, base.naming])
    optimisers = muon_and_adamw(both, RATE, ends=("1.",))
    average = 0.0
    for step in range(steps):
        rng = random.Random(f"naming-{step}")
        chosen = [rng.randrange(SPLITS["base"]) for _ in range(BATCH)]
        captions = [training_caption(index, rng) for index in chosen]
        tokens = tokenizer(
            captions,
            padding="max_length", max_length=TOKEN_LIMIT, truncation=True, return_tensors="pt",
        ).input_ids  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16):
            context = base.text_encoder(tokens).last_hidden_state
            generator = torch.Generator().manual_seed(step)
            loss = base.naming(context, tokens, attributes_of(chosen, captions), generator)
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        average += (loss.item() - average) * (0.02 if step else 1.0)
        if step % 100 == 99:
            print(f"naming: step {step + 1}, loss {average:.3f}", flush=True)
    return average
