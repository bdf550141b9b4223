"""Read a caption from a text file of any usual encoding."""

from __future__ import annotations

import codecs
import logging
import unicodedata
from pathlib import Path

from loraloom.errors import CaptionUnreadable

SUFFIXES = (".txt", ".caption")
MAX_BYTES = 8192

logger = logging.getLogger(__name__)


def read_caption(path: Path) -> str:
    """The caption in `path` as one line of NFC text without NUL.

    Raises CaptionUnreadable when it is empty, longer than 8 kB or not text.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CaptionUnreadable(
                f"{path.name}: the caption has {size:,} bytes; at most {MAX_BYTES:,} are accepted"
            )
        text = _decode(path.read_bytes(), path.name)
    except OSError as error:
        raise CaptionUnreadable(f"{path.name}: cannot be read ({error.strerror})") from error
    if "\0" in text:
        logger.warning("%s: NUL characters were removed from the caption", path.name)
    caption = " ".join(unicodedata.normalize("NFC", text.replace("\0", "")).split())
    if not caption:
        raise CaptionUnreadable(f"{path.name}: the caption is empty; say what the picture shows")
    return caption


def _decode(data: bytes, name: str) -> str:
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise CaptionUnreadable(f"{name}: is not text; save the caption as UTF-8") from error
    logger.warning("%s: not UTF-8, read as Windows-1252; save it as UTF-8 to be sure", name)
    return text
