"""Write frames: as a clip at one rate, or as pictures, one a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loraloom.errors import OutputUnwritable
from loraloom.files import sync_file, sync_folder, telling_failures

QUALITY = {"crf": "12", "preset": "medium"}
"""So little is lost that a VAE does not see it."""
BT709 = 1
DIGITS = 5


class Writer(Protocol):
    """Takes the frames of one clip in order, (H, W, 3) each."""

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """One more frame."""


@contextmanager
def mp4(path: Path, fps: float, size_px: tuple[int, int], comment: str = "") -> Iterator[Writer]:
    """H.264 in MP4 with exactly `fps` frames a second, which plays before all of it is there; sides
    must be even. Synced at the end."""
    rate = Fraction(fps).limit_denominator(1001)
    start_first = {"movflags": "+faststart"}
    try:
        with (
            telling_failures(path),
            av.open(str(path), "w", format="mp4", options=start_first) as container,
        ):
            if comment:
                container.metadata["comment"] = comment
            stream = container.add_stream("libx264", rate=rate, options=dict(QUALITY))
            stream.width, stream.height = size_px
            stream.pix_fmt = "yuv420p"
            stream.codec_context.colorspace = BT709
            yield _Mp4(container, stream)
            container.mux(stream.encode(None))
    except (av.FFmpegError, ValueError) as error:
        raise OutputUnwritable(f"{path.name} could not be written as MP4 ({error}).") from error
    sync_file(path)


def write_mp4(path: Path, frames: Iterable[Image.Image], fps: float, comment: str = "") -> None:
    """The frames as a clip that is there whole or not at all. Raises DiskFull, OutputUnwritable."""
    coming = iter(frames)
    first = next(coming)
    beside = path.with_name(f".{path.name}.tmp")
    with telling_failures(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with mp4(beside, fps, first.size, comment) as clip:
                for frame in chain((first,), coming):
                    clip.add(np.asarray(frame.convert("RGB"), np.uint8))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def sequence(folder: Path) -> Iterator[Writer]:
    """00001.png, 00002.png, … in `folder`. Synced at the end."""
    with telling_failures(folder):
        folder.mkdir(parents=True)
        yield _Sequence(folder)
        sync_folder(folder)


class _Mp4:
    def __init__(self, container: av.container.OutputContainer, stream: av.VideoStream) -> None:
        self._container, self._stream = container, stream

    def add(self, rgb: NDArray[np.uint8]) -> None:
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
        yuv = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        yuv.pts = None
        self._container.mux(self._stream.encode(yuv))


class _Sequence:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def add(self, rgb: NDArray[np.uint8]) -> None:
        self._count += 1
        path = self._folder / f"{self._count:0{DIGITS}d}.png"
        Image.fromarray(rgb).save(path, "PNG", compress_level=4)
        sync_file(path)


def writer(
    path: Path, fps: float, size_px: tuple[int, int], *, frames: bool
) -> AbstractContextManager[Writer]:
    """A folder of frames or a clip at `path`."""
    return sequence(path) if frames else mp4(path, fps, size_px)
