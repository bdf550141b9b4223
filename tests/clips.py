"""Small clips of every kind, sound and broken, written with PyAV."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RED, BLUE = (200, 30, 30), (30, 40, 190)


def plain(colour: tuple[int, int, int], width_px: int, height_px: int) -> NDArray[np.uint8]:
    """One frame of one colour."""
    return np.full((height_px, width_px, 3), colour, np.uint8)


def numbered(number: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """A frame that can be told from the others: its grey is eight times its number."""
    return plain((number * 8,) * 3, width_px, height_px)


def number_of(frame: NDArray[np.uint8]) -> int:
    """Which frame `numbered` drew."""
    return round(float(frame.mean()) / 8)


def write_clip(
    path: Path,
    frames: int | Iterable[NDArray[np.uint8]] = 24,
    *,
    fps: int = 24,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Sequence[float] | None = None,
    turned: int = 0,
    options: dict[str, str] | None = None,
    set_up: Callable[[av.VideoStream], None] = lambda stream: None,
) -> Path:
    """A clip of a red, then blue picture, or of the frames given; `times`: seconds of each."""
    if isinstance(frames, int):
        colours = [RED if n < frames / 2 else BLUE for n in range(frames)]
        frames = [plain(colour, *size) for colour in colours]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 12_000)
        if turned:
            stream.set_display_rotation(turned)
        set_up(stream)
        for number, pixel in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixel, format="rgb24")
            frame.time_base = Fraction(1, 12_000)
            frame.pts = round((times[number] if times else number / fps) * 12_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, *, with_pictures: bool = False) -> Path:
    """Sound only, or with a stream of pictures that has none."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        if with_pictures:
            video = container.add_stream("libx264", rate=24)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def halve(path: Path, share: float = 0.5) -> Path:
    """Cut a file off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile {target}\n"
DASH = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>'
