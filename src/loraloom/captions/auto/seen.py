"""What a captioner is shown of one item: its picture, cropped as it is used, or a clip's frames."""

from __future__ import annotations

import hashlib

from PIL import Image

from loraloom.captions.auto.answer import Seen
from loraloom.captions.target import Item
from loraloom.dataset import images
from loraloom.dataset.snapshot import Box
from loraloom.errors import ImageUnreadable


def identity(item: Item) -> str:
    """What the item is, whatever it is called. Raises ImageUnreadable."""
    try:
        with item.path.open("rb") as stream:
            whole = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ImageUnreadable(f"{item.name}: cannot be read ({error.strerror})") from error
    return f"{whole} {item.crop}" if item.crop else whole


def see(item: Item, frames: int) -> Seen:
    """The picture, or `frames` frames of a clip, evenly over its length. Raises ImageUnreadable."""
    if item.is_clip:
        return _frames(item, frames)
    data = images.read_bytes(item.path)
    return (_cropped(images.decode_rgb(data, item.name, first_frame=True), item.crop),)


def _frames(item: Item, count: int) -> Seen:
    from loraloom.dataset import clips

    total = clips.inspect(item.path, item.name).frames
    wanted = {int((number + 0.5) * total / count) for number in range(count)}
    with clips.open_clip(item.path, item.name) as clip:
        found = [
            Image.fromarray(clips.upright_rgb(clip, frame))
            for number, (_, frame) in enumerate(clip.frames())
            if number in wanted
        ]
    return tuple(_cropped(picture, item.crop) for picture in found)


def _cropped(picture: Image.Image, crop: Box | None) -> Image.Image:
    if crop is None:
        return picture
    left, top, width, height = crop
    return picture.crop((left, top, left + width, top + height))
