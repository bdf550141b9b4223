"""WD14-type taggers: an ONNX network and its list of tags.

Input: (B, side, side, 3) float32, BGR, 0..255; the picture padded to a square with white, half on
either side, then resized (bicubic). Output: (B, tags), each 0..1. So does the authors' own code
(the Space SmilingWolf/wd-tagger and neggles/wdv3-jax), and kohya's
finetune/tag_images_by_wd14_tagger.py apart from the filter that shrinks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loraloom.captions.auto import defaults
from loraloom.captions.auto.answer import LEAST_SHARE, Answer, Seen, Tag
from loraloom.captions.auto.labels import Label, read_labels
from loraloom.captions.auto.source import LABELS, NETWORK
from loraloom.errors import TaggerUnusable


class Wd14:
    """A tagger in the folder that holds model.onnx and selected_tags.csv."""

    style: Literal["tags"] = "tags"
    frames = 1

    def __init__(self, folder: Path, name: str = "") -> None:
        """Raises TaggerUnusable."""
        self.name = name or str(folder)
        self._labels = read_labels(folder / LABELS)
        self._session = _open(folder / NETWORK)
        shape = self._session.get_inputs()[0].shape
        self._side_px = _side(shape, folder / NETWORK)
        fixed = isinstance(shape[0], int) and shape[0] > 0
        self._fixed_batch = shape[0] if fixed else 0
        self.batch = self._fixed_batch or defaults.tagger().batch
        size = (folder / NETWORK).stat().st_size
        self.fingerprint = f"wd14 {self.name} {size} {len(self._labels)}"

    def describe(self, seen: Sequence[Seen]) -> list[Answer]:
        """All tags of each picture that are sure by LEAST_SHARE at least."""
        rows = self.shares([frames[0] for frames in seen])
        return [_answer(self._labels, shares) for shares in rows]

    def shares(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        """How sure each tag is: (pictures, tags) in 0..1. Raises TaggerUnusable."""
        rows = np.stack([prepare(picture, self._side_px) for picture in pictures])
        if missing := self._fixed_batch and self._fixed_batch - len(rows):
            rows = np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), np.float32)])
        given = self._session.get_inputs()[0].name
        found: NDArray[np.float32] = self._session.run(None, {given: rows})[0][: len(pictures)]
        if found.shape != (len(pictures), len(self._labels)):
            raise TaggerUnusable(
                f"{self.name}: the network answers {found.shape[-1]} values a picture and "
                f"{LABELS} names {len(self._labels)} tags; they are not of one tagger."
            )
        return found


def prepare(picture: Image.Image, side_px: int) -> NDArray[np.float32]:
    """An RGB picture as the network takes it: (side, side, 3), BGR, 0..255."""
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    if longest != side_px:
        square = square.resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.asarray(square, dtype=np.float32)[:, :, ::-1]


def _answer(labels: tuple[Label, ...], shares: NDArray[np.float32]) -> Answer:
    return Answer(
        tuple(
            Tag(label.name, round(float(share), 4), names=label.use == "names")
            for label, share in zip(labels, shares, strict=True)
            if label.use != "left out" and share >= LEAST_SHARE
        )
    )


def _open(path: Path) -> Any:
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise TaggerUnusable(
            "Taggers need onnxruntime, which is not installed: pip install 'loraloom[tagger]'."
        ) from error
    refusals = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
                state.NoSuchFile, state.NotImplemented, state.RuntimeException)  # fmt: skip
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: what it warns of is its own business
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except refusals as error:
        reason = str(error).splitlines()[0][:200]
        raise TaggerUnusable(
            f"{path} is no network that onnxruntime can read ({reason}); fetch the tagger again."
        ) from error


def _side(shape: Sequence[int | str | None], path: Path) -> int:
    match list(shape):
        case [_, int(height), int(width), 3] if height == width > 0:
            return height
    raise TaggerUnusable(
        f"{path} takes pictures of the shape {list(shape)}; a WD14 tagger takes (pictures, side, "
        "side, 3)."
    )
