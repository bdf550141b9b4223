"""Small copies of pictures, and of the first frames of clips, for pages."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from loraloom.dataset import images
from loraloom.errors import ImageUnreadable
from loraloom.files import telling_failures

QUALITY = 80


def make(path: Path, name: str, content: str, target: Path, side_px: int) -> tuple[int, int]:
    """Write a WebP of at most `side_px` a side; its size in pixels. Raises ImageUnreadable.

    `content`: "picture" or "clip". Colours are sRGB, and nothing of the file's own notes is left.
    """
    image = _first_frame(path, name) if content == "clip" else _picture(path, name)
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    with telling_failures(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        image.save(beside, "WEBP", quality=QUALITY, method=2)
        beside.replace(target)
    return image.size


def _picture(path: Path, name: str) -> Image.Image:
    return images.decode_rgb(images.read_bytes(path), name, first_frame=True)


def _first_frame(path: Path, name: str) -> Image.Image:
    from loraloom.dataset import clips

    with clips.open_clip(path, name) as clip:
        for _, frame in clip.frames():
            return Image.fromarray(clips.upright_rgb(clip, frame))
    raise ImageUnreadable(f"{name}: the clip has no frame", "clip_empty")
