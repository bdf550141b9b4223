"""A base held in memory, with adapters that are switched and mixed between pictures."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from loraloom import families
from loraloom.errors import ConfigInvalid, PromptEmpty, SizeInvalid
from loraloom.families.base import Drawing, Embeds
from loraloom.families.info import BaseProfile
from loraloom.families.installed import sampling
from loraloom.generate.fitted import FittedAdapters
from loraloom.settings import resolve_base
from loraloom.train.precision import choose_device


@dataclass(frozen=True)
class Request:
    """One picture or clip to draw. Guidance, steps, width and height default to the base's own."""

    prompt: str
    seed: int
    negative_prompt: str = ""
    guidance: float | None = None
    steps: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    clip_skip: int = 0
    """Last text encoder layers left out, as in training."""
    frames: int | None = 1
    """1: a picture; more, on a base of video: a clip; None: as long as the base's own clips."""
    fps: float | None = None
    """Frames a second at which a clip is shown, by default the base's own; they are the same."""


class Generator:
    """A base model ready to draw, on the GPU if there is one.

    Raises BaseUnknown when `base` is neither a known name nor a folder a family recognises.
    """

    def __init__(
        self, base: str | Path, *, dtype: torch.dtype = torch.float32, device: str | None = None
    ) -> None:
        self._family = families.detect(base)
        folder = resolve_base(base)
        self._profile = self._family.profile(folder)
        self._parts = self._family.load(folder, dtype=dtype, device=device or choose_device())
        self._pipeline: Any = self._family.pipeline(self._parts)
        self._adapters = FittedAdapters(self._family, self._parts, self._pipeline)
        self._samples = sampling(self._family.info, self._profile)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of the adapters loaded so far."""
        return self._adapters.names

    def load_adapter(self, path: Path, name: str, expert: str = "") -> tuple[str, ...]:
        """Load a file of any layout; see `FittedAdapters.load`."""
        return self._adapters.load(path, name, expert)

    def set_scales(self, scales: Mapping[str, float]) -> None:
        """How strongly each adapter acts; see `FittedAdapters.set_scales`."""
        self._adapters.set_scales(scales)

    def generate(self, requests: Sequence[Request], batch_size: int = 8) -> list[Image.Image]:
        """The pictures that `film` gives; of a clip the first frame."""
        return [frames[0] for frames in self.film(requests, batch_size)]

    @torch.inference_mode()
    def film(
        self,
        requests: Sequence[Request],
        batch_size: int = 8,
        on_step: Callable[[int], None] | None = None,
    ) -> list[list[Image.Image]]:
        """The frames of each clip, one of a picture, in the order of `requests`; a seed gives the
        same noise in any batch.

        `on_step` is told after each denoising step how many have taken it together. Raises
        PromptEmpty, SizeInvalid and ConfigInvalid (clip_skip, negative_prompt, frames, fps) before
        anything is drawn.
        """
        requests = [self.complete(request) for request in requests]
        embeds = [self._embeds(request) for request in requests]
        clips: dict[int, list[Image.Image]] = {}
        keys = [_batch_key(*pair) for pair in zip(requests, embeds, strict=True)]
        for batch in batches(keys, batch_size):
            drawn = self._draw([requests[i] for i in batch], [embeds[i] for i in batch], on_step)
            clips.update(zip(batch, drawn, strict=True))
        return [clips[i] for i in range(len(requests))]

    def complete(self, request: Request) -> Request:
        """The request with what it left to the base. Raises what is wrong with it."""
        self._check(request)
        own, native, rule = self._samples, self._profile.native_px, self._profile.frames
        longest = rule.fit(rule.most) if rule else 1
        frames = longest if request.frames is None else request.frames
        return replace(
            request,
            guidance=own.guidance if request.guidance is None else request.guidance,
            steps=request.steps or own.steps,
            width_px=request.width_px or native,
            height_px=request.height_px or native,
            frames=frames,
            fps=request.fps or (rule.fps if rule and frames > 1 else None),
        )

    def _embeds(self, request: Request) -> Embeds:
        """Each request's own, so that its length never depends on what it is drawn with."""
        return self._family.prompt_embeds(
            self._parts, [request.prompt], [request.negative_prompt], clip_skip=request.clip_skip
        )

    def _draw(
        self,
        batch: Sequence[Request],
        embeds: Sequence[Embeds],
        on_step: Callable[[int], None] | None,
    ) -> list[list[Image.Image]]:
        first = batch[0]
        assert first.guidance is not None and first.steps, "see `complete`"
        assert first.width_px and first.height_px and first.frames
        return self._family.film(
            self._pipeline,
            {name: _joined([one[name] for one in embeds]) for name in embeds[0]},
            Drawing(first.guidance, first.steps, first.width_px, first.height_px, first.frames),
            [torch.Generator().manual_seed(request.seed) for request in batch],
            partial(on_step, len(batch)) if on_step else None,
        )

    def _check(self, request: Request) -> None:
        if not request.prompt.strip():
            raise PromptEmpty("The prompt is empty. Say what the picture should show.")
        title, info = self._profile.family, self._family.info
        if request.negative_prompt.strip() and not info.negative_prompt:
            raise ConfigInvalid(f"A negative prompt has no effect on {title}: leave it out.")
        if request.clip_skip and not info.clip_skip:
            raise ConfigInvalid(
                f"clip_skip = {request.clip_skip} has no effect on {title}, whose text encoders "
                "are taken whole: leave it out."
            )
        check_frames(self._profile, request.frames, request.fps)
        for side_px in (request.width_px, request.height_px):
            if side_px is not None and (side_px <= 0 or side_px % self._multiple_px):
                raise SizeInvalid(
                    f"A side of {side_px} px is not possible with this base: use a positive "
                    f"multiple of {self._multiple_px}."
                )

    @property
    def _multiple_px(self) -> int:
        factor = self._family.latent_format(self._parts.vae).factor
        return factor * self._family.info.patch


def check_frames(profile: BaseProfile, frames: int | None, fps: float | None) -> None:
    """Raise ConfigInvalid where a base cannot draw so many frames, or a picture is given a rate."""
    title, rule = profile.family, profile.frames
    if rule is None and frames not in (1, None):
        raise ConfigInvalid(
            f"frames = {frames} has no effect on {title}, which draws pictures: leave it out."
        )
    if rule and frames is not None and (frames < 1 or rule.largest(frames) != frames):
        raise ConfigInvalid(
            f"frames = {frames} is not possible on {title}, which {rule.nearest(max(frames, 1))}; "
            "1 is a picture."
        )
    if fps is not None and (rule is None or frames == 1):
        raise ConfigInvalid(f"fps = {fps:g} has no effect on a picture: leave it out.")
    if fps is not None and fps <= 0:
        raise ConfigInvalid(f"fps = {fps:g} is not possible: give a positive number.")


def _batch_key(request: Request, embeds: Embeds) -> Hashable:
    """Equal for requests that one call of the pipeline can draw together."""
    shapes = tuple(tuple(rows.shape) for rows in embeds.values() if isinstance(rows, Tensor))
    size = request.width_px, request.height_px, request.frames
    return request.guidance, request.steps, *size, shapes


def _joined(rows: Sequence[Tensor | list[Tensor]]) -> Tensor | list[Tensor]:
    """One pipeline argument for several prompts."""
    tensors = [one for one in rows if isinstance(one, Tensor)]
    lists = [one for one in rows if isinstance(one, list)]
    return torch.cat(tensors) if tensors else list(chain.from_iterable(lists))


def batches(keys: Sequence[Hashable], size: int) -> Iterator[list[int]]:
    """Positions of equal keys, at most `size` together."""
    groups: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]
