"""Captions through CLIP text encoders, in chunks of 75 tokens; for the families that have one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loraloom.errors import ConfigInvalid
from loraloom.families.base import Condition

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClipText:
    """One caption as a CLIP encoder sees it."""

    states: Tensor
    """(77 n, width) of n chunks; padding up to 77 is part of it, as in the pipelines."""
    pooled: Tensor
    """(width,), of the first chunk."""


def encode(
    tokenizer: Any,
    encoder: Any,
    captions: Sequence[str],
    *,
    layer: int = 0,
    chunks: int | None = None,
) -> list[ClipText]:
    """Encode captions of any length, or no more than the first `chunks` chunks of each.

    `layer` 0: the last layer's output, normalised. Otherwise the output as it is after that many
    layers before the last (`hidden_states[-1 - layer]`).
    """
    import torch

    pieces = [list(_chunks(tokenizer, caption))[:chunks] for caption in captions]
    ids = torch.tensor([piece for caption in pieces for piece in caption])
    output = encoder(ids.to(encoder.device), output_hidden_states=layer > 0)
    states = output.hidden_states[-1 - layer] if layer else output.last_hidden_state
    pooled = output.text_embeds if "text_embeds" in output else output.pooler_output
    counts = [len(caption) for caption in pieces]
    return [
        ClipText(states=part.flatten(0, 1), pooled=first[0])
        for part, first in zip(states.split(counts), pooled.split(counts), strict=True)
    ]


def side_by_side(first: ClipText, second: ClipText) -> Condition:
    """`context` with both encoders' states joined along their width, and the second's `pooled`."""
    import torch

    context = torch.cat([first.states, second.states], dim=-1)
    return Condition({"context": context, "pooled": second.pooled})


def check_layers(encoder: Any, clip_skip: int) -> None:
    """Raise ConfigInvalid where so many of the encoder's layers cannot be left out."""
    layers = encoder.config.num_hidden_layers
    if clip_skip > layers:
        raise ConfigInvalid(
            f"clip_skip = {clip_skip} is not possible: the base's text encoder has {layers} layers."
        )


def final_norm(encoder: Any) -> Any:
    """CLIP's last layer norm: transformers 5 dropped the inner `text_model`."""
    return getattr(encoder, "text_model", encoder).final_layer_norm


def level(conditions: Sequence[Condition], empty: Condition) -> list[Condition]:
    """Contexts (77 n, width) of one length: shorter ones go on with chunks of the empty caption."""
    import torch

    nothing = empty.tensors["context"]
    longest = max(len(condition.tensors["context"]) for condition in conditions)
    levelled = []
    for condition in conditions:
        context = condition.tensors["context"]
        missing = (longest - len(context)) // len(nothing)
        context = torch.cat([context, nothing.repeat(missing, 1)])
        levelled.append(Condition({**condition.tensors, "context": context}))
    return levelled


def _chunks(tokenizer: Any, caption: str) -> Iterator[list[int]]:
    """The caption in pieces of 75 tokens, each with start, end and padding: 77 ids."""
    ids = tokenizer(caption, add_special_tokens=False, verbose=False).input_ids
    room = tokenizer.model_max_length - 2
    for start in range(0, max(len(ids), 1), room):
        piece = [tokenizer.bos_token_id, *ids[start : start + room], tokenizer.eos_token_id]
        yield piece + [tokenizer.pad_token_id] * (room + 2 - len(piece))
