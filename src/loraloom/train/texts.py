"""The text conditions of a step: from the cache, or from a text encoder that is being trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from loraloom.families.base import Condition, Family, Geometry
from loraloom.families.parts import Parts


class FrozenTexts:
    """Conditions that were encoded before training."""

    def __init__(self, look_up: Callable[[str], Condition]) -> None:
        self._look_up = look_up

    def __call__(self, captions: Sequence[str], *, trained: bool) -> list[Condition]:
        """One condition a caption."""
        assert not trained, "there is no text encoder to train"
        return [self._look_up(caption) for caption in captions]

    def of_base(self, captions: Sequence[str]) -> list[Condition]:
        """Those that the base would have; here the same."""
        return self(captions, trained=False)

    def forget(self) -> None:
        """Nothing: these never change."""


class TrainedTexts:
    """Conditions from the live text encoder.

    Those without gradients are kept until the encoder is trained again; each is encoded alone, so
    that a resumed run gets the same.
    """

    def __init__(self, family: Family, parts: Parts, clip_skip: int) -> None:
        self._family = family
        self._parts = parts
        self._clip_skip = clip_skip
        self._kept: dict[str, Condition] = {}
        self._of_base: dict[str, Condition] = {}

    def __call__(self, captions: Sequence[str], *, trained: bool) -> list[Condition]:
        """One condition a caption, with gradients if `trained`."""
        if trained:
            self.forget()
            return self._encode(captions)
        return self._keep(self._kept, captions)

    def of_base(self, captions: Sequence[str]) -> list[Condition]:
        """Those that the base would have; asked for while its adapter is off."""
        return self._keep(self._of_base, captions)

    def forget(self) -> None:
        """Encode anew: the weights have changed."""
        self._kept.clear()

    def _keep(self, kept: dict[str, Condition], captions: Sequence[str]) -> list[Condition]:
        with torch.no_grad():
            for caption in captions:
                if caption not in kept:
                    kept[caption] = self._encode([caption])[0]
        return [kept[caption] for caption in captions]

    def _encode(self, captions: Sequence[str]) -> list[Condition]:
        return self._family.encode_text(self._parts, captions, clip_skip=self._clip_skip)


Texts = FrozenTexts | TrainedTexts


def cut_captions(family: Family, parts: Parts, captions: Iterable[str]) -> int:
    """How many captions are longer than the base's text encoder takes."""
    if family.info.chunked:
        return 0
    tokenizer = getattr(parts, family.info.limiting_tokenizer)
    lengths = (len(tokenizer(c, add_special_tokens=False).input_ids) for c in captions)
    return sum(length > family.info.token_limit for length in lengths)


def batch_condition(
    family: Family,
    conditions: Sequence[Condition],
    pictures: Sequence[Geometry],
    like: Tensor,
) -> dict[str, Tensor]:
    """What `Family.predict` takes: the texts in the dtype and on the device of `like`, and the
    pictures' sizes, whose digits bfloat16 would not hold."""
    texts = {name: tensor.to(like) for name, tensor in family.collate(conditions).items()}
    sizes = {name: tensor.to(like.device) for name, tensor in family.geometry(pictures).items()}
    return texts | sizes
