"""Open a clip and read its frames upright, or say why not.

Only the demuxers named here are let in and only local files are opened: a playlist that calls
itself .mp4 cannot make the reader open another file or an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from loraloom.dataset.images import Facts, check_size
from loraloom.errors import ImageUnreadable

KINDS = {"mov": ("MP4", "MOV"), "matroska": ("MKV", "WEBM"), "gif": ("GIF",)}
"""First name of the demuxer -> what files of it are called, the usual one first."""
ALLOWED = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif",
}
MAGICS = (b"\x1a\x45\xdf\xa3", b"GIF8")
MOST_MINUTES = 10
MOST_FRAMES = MOST_MINUTES * 60 * 60
MOST_PIXELS = 89_000_000
DECODER_THREADS = 2
"""More threads hold more frames in memory."""
CUT_OFF = 0.9
"""A clip with less than this share of what its header promises was cut off."""
STEADY_S = 0.002
"""Frames whose distances differ by no more come at one rate; Matroska counts milliseconds."""
HDR = (16, 18)
"""Transfer functions of ITU-T H.273: SMPTE 2084 (PQ) and ARIB STD-B67 (HLG)."""
UNKNOWN_MATRIX = 2
SMALL_HEIGHT_PX = 576
"""Up to here a clip without a word on its colours has those of BT.601, as players hold it."""


@dataclass(frozen=True)
class Clip:
    """An open clip."""

    name: str
    container: InputContainer
    stream: VideoStream

    @property
    def average_fps(self) -> float:
        """What the header says; 0 where it says nothing."""
        return float(self.stream.average_rate or 0)

    @property
    def promised_s(self) -> float:
        """How long the header says that the frames last; 0 where it says nothing."""
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        alone = len(self.container.streams) == 1
        return (self.container.duration or 0) / 1_000_000 if alone else 0.0

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Seconds since the first frame, and the frame as it is stored. Raises ImageUnreadable."""
        first_s = None
        try:
            for number, frame in enumerate(self.container.decode(self.stream)):
                time_s = _time_s(frame, number, self.average_fps)
                first_s = time_s if first_s is None else first_s
                if number >= MOST_FRAMES or time_s - first_s > MOST_MINUTES * 60:
                    raise _too_long(self.name, None)
                yield time_s - first_s, frame
        except (av.FFmpegError, MemoryError) as error:
            raise _broken(self.name, error) from error

    def upright_size(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height in square pixels, turned as it is to be shown."""
        width_px, height_px = frame.width, frame.height
        aspect = self.stream.sample_aspect_ratio or Fraction(1)
        if aspect > 0:
            width_px = max(1, round(width_px * aspect))
        return (height_px, width_px) if frame.rotation % 180 else (width_px, height_px)


@contextmanager
def open_clip(path: Path, name: str) -> Iterator[Clip]:
    """The clip at `path`; `name` is for messages. Raises ImageUnreadable."""
    try:
        container = av.open(str(path), container_options=dict(ALLOWED))
    except (av.FFmpegError, OSError, MemoryError) as error:
        raise _not_opened(path, name, error) from error
    with container:
        stream = _picture_stream(container, name)
        if (container.duration or 0) > MOST_MINUTES * 60 * 1_000_000:
            raise _too_long(name, (container.duration or 0) / 1_000_000)
        if stream.codec_context.width * stream.codec_context.height > MOST_PIXELS:
            raise ImageUnreadable(
                f"{name}: its frames have more than {MOST_PIXELS // 10**6} million pixels; scale "
                "it down first",
                "image_too_large",
            )
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        yield Clip(name, container, stream)


def inspect(path: Path, name: str) -> Facts:
    """Decode the whole clip and say what it is. Raises ImageUnreadable."""
    with open_clip(path, name) as clip:
        times_s, first = _walk(clip)
        fps, steady = _rate(clip, times_s)
        notes = [*_notes(clip, first), *([] if steady else [_unsteady(name, times_s)])]
        duration_s = times_s[-1] + 1 / fps
        if duration_s < CUT_OFF * clip.promised_s or len(times_s) < CUT_OFF * clip.stream.frames:
            raise ImageUnreadable(
                f"{name}: ends after {len(times_s)} frames, {duration_s:.1f} s of "
                f"{clip.promised_s:.1f} s; it was cut off: copy or export it again",
                "clip_broken",
            )
        size = check_size(clip.upright_size(first), name)
        kind = _kind(clip.container, name)
        return Facts(*size, kind, tuple(notes), len(times_s), fps, round(duration_s, 3))


def upright_rgb(clip: Clip, frame: VideoFrame) -> NDArray[np.uint8]:
    """(H, W, 3), 8-bit, turned as it is to be shown, transparency laid over white."""
    matrix = "ITU709" if _is_unmarked_hd(frame) else None
    if any(part.is_alpha for part in frame.format.components):
        layered = np.asarray(frame.to_ndarray(format="rgba", src_colorspace=matrix), np.float32)
        cover = layered[..., 3:] / 255
        rgb = (layered[..., :3] * cover + 255 * (1 - cover)).round().astype(np.uint8)
    else:
        rgb = np.asarray(frame.to_ndarray(format="rgb24", src_colorspace=matrix), np.uint8)
    rgb = np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))
    size = clip.upright_size(frame)
    if (rgb.shape[1], rgb.shape[0]) != size:
        import cv2  # large; what only counts pictures does without

        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return rgb


def _picture_stream(container: InputContainer, name: str) -> VideoStream:
    """The first stream of moving pictures; the cover of a song is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    found = "only sound" if container.streams.audio else "no stream of pictures"
    raise ImageUnreadable(f"{name}: holds {found}; leave it out or export it again", "no_video")


def _walk(clip: Clip) -> tuple[list[float], VideoFrame]:
    """When each frame comes, in seconds, and the first one. Raises ImageUnreadable."""
    times_s: list[float] = []
    first: VideoFrame | None = None
    for time_s, frame in clip.frames():
        first = first or frame
        if (frame.width, frame.height) != (first.width, first.height):
            raise ImageUnreadable(
                f"{clip.name}: changes its size from {first.width} × {first.height} to "
                f"{frame.width} × {frame.height} px; export it with one size",
                "clip_size_changes",
            )
        times_s.append(time_s)
    if first is None or len(times_s) < 2:
        count = "no frame" if first is None else "a single frame"
        raise ImageUnreadable(
            f"{clip.name}: holds {count}; a clip has two at least: export it again, or as a "
            "picture",
            "no_frames",
        )
    return sorted(times_s), first


def _rate(clip: Clip, times_s: list[float]) -> tuple[float, bool]:
    """Frames a second on average, and whether they come at one rate."""
    span_s = times_s[-1]
    if span_s <= 0:
        raise ImageUnreadable(
            f"{clip.name}: all its frames have one time; export it again", "clip_broken"
        )
    fps = (len(times_s) - 1) / span_s
    steps_s = np.diff(times_s)
    tick_s = float(clip.stream.time_base or 0)
    steady = bool(np.ptp(steps_s) <= max(STEADY_S, 1.5 * tick_s))
    if steady and abs(clip.average_fps - fps) < 0.01 * fps:
        fps = clip.average_fps
    return round(fps, 3), steady


def _unsteady(name: str, times_s: list[float]) -> tuple[str, str]:
    steps_ms = np.diff(times_s) * 1000
    return (
        "variable_rate",
        f"{name}: its frames come {steps_ms.min():.0f} to {steps_ms.max():.0f} ms apart; "
        "`loraloom dataset prepare --fps 24` gives it one rate",
    )


def _notes(clip: Clip, frame: VideoFrame) -> list[tuple[str, str]]:
    """What becomes of the clip other than as it is."""
    name, notes = clip.name, []
    if frame.rotation:
        notes.append(("rotated", f"{name}: is turned by {abs(frame.rotation)}°, as it is shown"))
    bits = max((part.bits for part in frame.format.components), default=8)
    if frame.color_trc in HDR:
        notes.append(
            ("hdr", f"{name}: is HDR; its colours will look pale: export it as SDR (BT.709)")
        )
    elif bits > 8:
        notes.append(("deep_colour", f"{name}: its {bits} bits a channel are taken down to 8"))
    if frame.interlaced_frame:
        notes.append(("interlaced", f"{name}: is interlaced; export it as progressive"))
    return notes


def _kind(container: InputContainer, name: str) -> str:
    """What the file is, by its demuxer; its name decides within what that reads."""
    kinds = KINDS[container.format.name.split(",")[0]]
    claimed = Path(name).suffix.removeprefix(".").upper()
    return claimed if claimed in kinds else kinds[0]


def _time_s(frame: VideoFrame, number: int, fps: float) -> float:
    """When the frame is shown; by its number where the file does not say."""
    return number / (fps or 25.0) if frame.pts is None else float(frame.time)


def _is_unmarked_hd(frame: VideoFrame) -> bool:
    return frame.colorspace == UNKNOWN_MATRIX and frame.height > SMALL_HEIGHT_PX


def _not_opened(path: Path, name: str, error: Exception) -> ImageUnreadable:
    try:
        with path.open("rb") as stream:
            start = stream.read(12)
    except OSError as failure:
        return ImageUnreadable(f"{name}: cannot be read ({failure.strerror})", "unreadable")
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or start.startswith(MAGICS):
        return _broken(name, error)
    what = "the file is empty" if not start else "is not a clip of an accepted kind"
    return ImageUnreadable(f"{name}: {what} (MP4, MOV, MKV, WebM, GIF)", "not_a_clip")


def _broken(name: str, error: Exception) -> ImageUnreadable:
    reason = error.strerror if isinstance(error, av.FFmpegError) else "it needs too much memory"
    return ImageUnreadable(
        f"{name}: the clip is broken or cut off ({reason}); copy or export it again",
        "clip_broken",
    )


def _too_long(name: str, seconds: float | None) -> ImageUnreadable:
    lasts = f"{seconds / 60:,.0f} minutes" if seconds else f"more than {MOST_MINUTES} minutes"
    return ImageUnreadable(
        f"{name}: lasts {lasts}; up to {MOST_MINUTES} are accepted: cut out what is to be learnt",
        "clip_too_long",
    )
