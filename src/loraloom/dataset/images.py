"""Open a picture of any usual kind as upright 8-bit sRGB, or say why not."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from loraloom.errors import ImageUnreadable

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"))
MAX_FILE_MIB = 256
PLAIN_MODES = frozenset(("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"))
INK_MODES = frozenset(("CMYK", "YCbCr", "LAB"))
DEEP_MODES = frozenset(("I", "I;16", "I;16B", "I;16L", "I;16N"))
# Pillow's decoders answer broken bytes with any of these; bombs in text or profile chunks too.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError,
          OverflowError, struct.error)  # fmt: skip

logger = logging.getLogger(__name__)


def open_rgb(path: Path) -> Image.Image:
    """The picture at `path`, upright, sRGB, mode RGB, transparency laid over white.

    Raises ImageUnreadable with the file's name and the reason.
    """
    return decode_rgb(read_bytes(path), path.name)


def read_bytes(path: Path) -> bytes:
    """The bytes of a picture file. Raises ImageUnreadable when they cannot be had."""
    try:
        if path.stat().st_size > MAX_FILE_MIB * 2**20:
            raise ImageUnreadable(f"{path.name}: the file is larger than {MAX_FILE_MIB} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ImageUnreadable(f"{path.name}: cannot be read ({error.strerror})") from error


def decode_rgb(data: bytes, name: str) -> Image.Image:
    """As `open_rgb`, from bytes in memory; `name` is for messages."""
    image = _decode(data, name)
    try:
        return _to_rgb(ImageOps.exif_transpose(image), name)
    except BROKEN as error:
        raise ImageUnreadable(f"{name}: the picture is broken ({error})") from error


def _decode(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageUnreadable(f"{name}: the file is empty; export the picture again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to talk
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise ImageUnreadable(
                    f"{name}: holds several pictures (an animation or pages); save one as PNG"
                )
            image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
        raise ImageUnreadable(
            f"{name}: has too many pixels (the limit is 89 million); scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageUnreadable(
            f"{name}: is not a picture of an accepted kind ({', '.join(FORMATS)})"
        ) from error
    except BROKEN as error:
        raise ImageUnreadable(f"{name}: the picture is broken ({error})") from error
    return image


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode in DEEP_MODES:
        image = _eight_bits(image, name)
    elif image.mode not in PLAIN_MODES | INK_MODES:
        raise ImageUnreadable(
            f"{name}: pixels of mode {image.mode} are not accepted; save it as an 8-bit PNG"
        )
    if image.mode == "CMYK" and not profile:
        logger.warning("%s: CMYK without a colour profile; its colours are a guess", name)
    if not image.has_transparency_data:
        return _to_srgb(image, profile, name)
    layered = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(_to_srgb(layered.convert("RGB"), profile, name), mask=layered.getchannel("A"))
    return canvas


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 bits as grey of 8. Pillow's own convert clips instead of scaling."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageUnreadable(f"{name}: has more than 16 bits a channel; save it as an 8-bit PNG")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """`image` (no transparency) as RGB, its colours brought from `profile` to sRGB."""
    if image.mode in ("1", "P", "RGBX"):
        image = image.convert("RGB")
    if not profile:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image.convert("RGB")
        if source.profile.xcolor_space.strip() == "GRAY":
            image = image.convert("L")
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        logger.warning("%s: its colour profile is broken and was ignored", name)
        return image.convert("RGB")
    assert converted is not None  # only None when converting in place
    return converted
