"""Read a caption from a text file of any usual encoding."""

from __future__ import annotations

import codecs
import logging
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from loraloom.errors import CaptionUnreadable

SUFFIXES = (".txt", ".caption")
MAX_BYTES = 8192
ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What moves or colours a terminal (ECMA-48, control sequences)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caption:
    """One line of NFC text without control characters, and what was changed to get it."""

    text: str
    notes: tuple[str, ...] = ()


def read_caption(path: Path) -> str:
    """The caption in `path` as one line of NFC text without control characters.

    Raises CaptionUnreadable when it is empty, longer than 8 kB or not text.
    """
    try:
        _check_length(path.stat().st_size, path.name)
        caption = parse_caption(path.read_bytes(), path.name)
    except OSError as error:
        raise CaptionUnreadable(f"{path.name}: cannot be read ({error.strerror})") from error
    for note in caption.notes:
        logger.warning("%s: %s", path.name, note)
    return caption.text


def parse_caption(data: bytes, name: str) -> Caption:
    """The caption that a file holds. Raises CaptionUnreadable as `read_caption`."""
    _check_length(len(data), name)
    text, notes = decode_text(data, name)
    caption = clean_caption(text, name)
    if not caption.text:
        raise CaptionUnreadable(
            f"{name}: the caption is empty; say what the picture shows", "caption_empty"
        )
    return Caption(caption.text, (*notes, *caption.notes))


def clean_caption(text: str, name: str) -> Caption:
    """`text` as a caption, which may be empty. Raises CaptionUnreadable when it is too long."""
    notes = []
    plain = text.replace("\0", "")
    if plain != text:
        notes.append("NUL characters were removed from the caption")
    bare = ESCAPE.sub("", plain)
    shown = "".join(char for char in bare if char.isspace() or unicodedata.category(char) != "Cc")
    if shown != plain:  # a terminal would obey them
        notes.append("control characters were removed from the caption")
    plain = shown
    sound = plain.encode("utf-8", "replace").decode()
    if sound != plain:
        notes.append("characters that are no text (half of a surrogate pair) became ?")
    caption = " ".join(unicodedata.normalize("NFC", sound).split())
    _check_length(len(caption.encode()), name)
    return Caption(caption, tuple(notes))


def decode_text(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """Text of any usual encoding, and what was guessed. Raises CaptionUnreadable."""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16"), ()
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise CaptionUnreadable(f"{name}: is not text; save the caption as UTF-8") from error
    return text, ("not UTF-8, read as Windows-1252; save it as UTF-8 to be sure",)


def _check_length(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise CaptionUnreadable(
            f"{name}: the caption has {size:,} bytes; at most {MAX_BYTES:,} are accepted",
            "caption_too_long",
        )
