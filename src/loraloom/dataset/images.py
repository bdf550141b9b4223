"""Open a picture of any usual kind as upright 8-bit sRGB, or say why not."""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from loraloom.errors import ImageUnreadable

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
)
CLIP_SUFFIXES = frozenset((".mp4", ".mov", ".webm", ".mkv"))
"""A GIF can be either; who reads it says what it is."""
MAGIC = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "HEIF": re.compile(rb"....ftyp(?:hei[cxms]|mif1|msf1)", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
}
MAX_FILE_MIB = 256
PLAIN_MODES = frozenset(("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"))
INK_MODES = frozenset(("CMYK", "YCbCr", "LAB"))
DEEP_MODES = frozenset(("I", "I;16", "I;16B", "I;16L", "I;16N"))
# Pillow's decoders answer broken bytes with any of these; bombs in text or profile chunks too.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError,
          OverflowError, struct.error)  # fmt: skip
PROFILE_BROKEN = (ImageCms.PyCMSError, OSError, ValueError, TypeError)

MIN_SIDE_PX = 16
MAX_ASPECT = 8
ORIENTATION = 0x0112
TURNED = range(5, 9)

logger = logging.getLogger(__name__)
pillow_heif.register_heif_opener()

Tell = Callable[[str, str], None]
"""Receives a code and a sentence about a picture that was read with a reservation."""


@dataclass(frozen=True)
class Facts:
    """A picture or clip that decodes: its upright size, its kind, reservations (code, sentence)."""

    width_px: int
    height_px: int
    kind: str
    notes: tuple[tuple[str, str], ...] = ()
    frames: int = 0
    """Of a clip; 0: it is a picture."""
    fps: float = 0.0
    """Of a clip, on average."""
    duration_s: float = 0.0


def open_rgb(path: Path) -> Image.Image:
    """The picture at `path`, upright, sRGB, mode RGB, transparency laid over white.

    Of an animation the first frame. Raises ImageUnreadable with the file's name and the reason.
    """
    return decode_rgb(read_bytes(path), path.name, first_frame=True)


def inspect(data: bytes, name: str) -> Facts:
    """Decode the whole picture, of an animation the first frame, and say what it is.

    Raises ImageUnreadable.
    """
    notes: list[tuple[str, str]] = []

    def tell(code: str, sentence: str) -> None:
        notes.append((code, sentence))

    image = _decode(data, name, first_frame=True, tell=tell)
    try:
        width_px, height_px = image.size
        if image.getexif().get(ORIENTATION) in TURNED:
            width_px, height_px = height_px, width_px
        _check_mode(image, name, tell)
        if image.mode in DEEP_MODES:
            _eight_bits(image, name)
        _open_profile(image.info.get("icc_profile"), name, tell)
    except BROKEN as error:
        raise _broken(name, str(error)) from error
    check_size((width_px, height_px), name)
    return Facts(width_px, height_px, image.format or "", tuple(notes))


def check_size(size: tuple[int, int], name: str) -> tuple[int, int]:
    """`size` in pixels as it is. Raises ImageUnreadable where no training could use it."""
    short, long = min(size), max(size)
    if short < MIN_SIDE_PX:
        raise ImageUnreadable(
            f"{name}: is {short} px on its short side; {MIN_SIDE_PX} are needed", "image_too_small"
        )
    if long > MAX_ASPECT * short:
        raise ImageUnreadable(
            f"{name}: is {size[0]} × {size[1]} px, longer than {MAX_ASPECT}:1; crop it first",
            "image_too_long",
        )
    return size


def read_bytes(path: Path) -> bytes:
    """The bytes of a picture file. Raises ImageUnreadable when they cannot be had."""
    try:
        if path.stat().st_size > MAX_FILE_MIB * 2**20:
            raise ImageUnreadable(f"{path.name}: the file is larger than {MAX_FILE_MIB} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ImageUnreadable(f"{path.name}: cannot be read ({error.strerror})") from error


def decode_rgb(data: bytes, name: str, *, first_frame: bool = False) -> Image.Image:
    """As `open_rgb`, from bytes in memory; `name` is for messages.

    An animation is refused unless `first_frame` is asked for, which the log then says.
    """
    image = _decode(data, name, first_frame=first_frame, tell=_log)
    try:
        return _to_rgb(ImageOps.exif_transpose(image), name)
    except BROKEN as error:
        raise _broken(name, str(error)) from error


def decode_alpha(data: bytes, name: str) -> Image.Image | None:
    """How opaque each pixel of the upright picture is, mode L; None where all of it is.

    Raises ImageUnreadable.
    """
    image = _decode(data, name, first_frame=True, tell=_log)
    try:
        if not image.has_transparency_data:
            return None
        alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
    except BROKEN as error:
        raise _broken(name, str(error)) from error
    return None if alpha.getextrema()[0] == 255 else alpha


def _log(code: str, sentence: str) -> None:
    logger.warning("%s", sentence)


def _decode(data: bytes, name: str, *, first_frame: bool, tell: Tell) -> Image.Image:
    if not data:
        raise ImageUnreadable(
            f"{name}: the file is empty; export the picture again", "not_an_image"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to talk
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":
                if not first_frame:
                    raise ImageUnreadable(
                        f"{name}: holds several pictures (an animation or pages); save one as PNG",
                        "animation",
                    )
                tell("animation", f"{name}: holds {frames} pictures; only the first is used")
            image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError) as error:
        raise ImageUnreadable(
            f"{name}: has too many pixels (the limit is 89 million); scale it down first",
            "image_too_large",
        ) from error
    except UnidentifiedImageError as error:
        if began := _began_as(data):
            raise _broken(name, f"it begins as {began}, and then does not go on") from error
        raise ImageUnreadable(
            f"{name}: is not a picture of an accepted kind ({', '.join(FORMATS)})",
            "not_an_image",
        ) from error
    except BROKEN as error:
        raise _broken(name, str(error)) from error
    return image


def _broken(name: str, reason: str) -> ImageUnreadable:
    """What a decoder said, as one line."""
    return ImageUnreadable(f"{name}: the picture is broken ({' '.join(reason.split())})")


def _began_as(data: bytes) -> str:
    """The accepted kind that the first bytes promise; empty where they promise none."""
    return next((kind for kind, start in MAGIC.items() if start.match(data)), "")


def _check_mode(image: Image.Image, name: str, tell: Tell) -> None:
    if image.mode not in PLAIN_MODES | INK_MODES | DEEP_MODES:
        raise ImageUnreadable(
            f"{name}: pixels of mode {image.mode} are not accepted; save it as an 8-bit PNG",
            "unsupported_format",
        )
    if image.mode == "CMYK" and not image.info.get("icc_profile"):
        tell("cmyk", f"{name}: CMYK without a colour profile; its colours are a guess")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    _check_mode(image, name, _log)
    if image.mode in DEEP_MODES:
        image = _eight_bits(image, name)
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
        raise ImageUnreadable(
            f"{name}: has more than 16 bits a channel; save it as an 8-bit PNG",
            "unsupported_format",
        )
    return Image.fromarray((values >> 8).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """`image` (no transparency) as RGB, its colours brought from `profile` to sRGB."""
    if image.mode in ("1", "P", "RGBX"):
        image = image.convert("RGB")
    source = _open_profile(profile, name, _log)
    if source is None:
        return image.convert("RGB")
    try:
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image.convert("RGB")
        if source.profile.xcolor_space.strip() == "GRAY":
            image = image.convert("L")
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except PROFILE_BROKEN:
        _tell_broken_profile(name, _log)
        return image.convert("RGB")
    assert converted is not None  # only None when converting in place
    return converted


def _open_profile(profile: bytes | None, name: str, tell: Tell) -> ImageCms.ImageCmsProfile | None:
    if not profile:
        return None
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except PROFILE_BROKEN:
        _tell_broken_profile(name, tell)
        return None


def _tell_broken_profile(name: str, tell: Tell) -> None:
    tell("profile_broken", f"{name}: its colour profile is broken and was ignored")
