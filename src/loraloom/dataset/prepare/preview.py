"""A sheet of small pictures, each with the part that its bucket keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance

from loraloom import fonts

PAPER, INK, SOFT, RULE = (250, 249, 246), (28, 30, 36), (110, 113, 122), (222, 219, 212)
FRAME = (232, 89, 12)
CELL_PX, GAP_PX, MARGIN_PX = 300, 28, 56
TITLE_PX, TEXT_PX = 36, 21
COLUMNS = 6
PER_SHEET = 60
DIMMED = 0.45
FRAME_PX = 4


@dataclass(frozen=True)
class Cell:
    """One small picture and what is said of it."""

    thumb: Path
    frame: tuple[float, float, float, float]
    """Left, top, right, bottom of what is kept, as shares of the sides."""
    name: str
    label: str


def sheets(cells: Sequence[Cell], title: str, subtitle: str) -> list[Image.Image]:
    """Sixty pictures a sheet."""
    parts = [cells[first : first + PER_SHEET] for first in range(0, len(cells), PER_SHEET)]
    many = len(parts) > 1
    return [
        _sheet(part, f"{title} ({number} of {len(parts)})" if many else title, subtitle)
        for number, part in enumerate(parts, 1)
    ]


def paths(first: Path, count: int) -> list[Path]:
    """sheet.png, sheet-2.png, …"""
    more = (first.with_stem(f"{first.stem}-{number}") for number in range(2, count + 1))
    return [first, *more][:count]


def _sheet(cells: Sequence[Cell], title: str, subtitle: str) -> Image.Image:
    columns = min(COLUMNS, max(3, len(cells)))
    text_px = round(TEXT_PX * 2 * 1.4)
    step_px = CELL_PX + text_px + GAP_PX
    rows = -(-len(cells) // columns)
    head_px = MARGIN_PX + TITLE_PX * 2 + TEXT_PX * 2
    width_px = 2 * MARGIN_PX + columns * (CELL_PX + GAP_PX) - GAP_PX
    page = Image.new("RGB", (width_px, head_px + rows * step_px + MARGIN_PX - GAP_PX), PAPER)
    draw = ImageDraw.Draw(page)
    room_px = width_px - 2 * MARGIN_PX
    draw.text(
        (MARGIN_PX, MARGIN_PX - 8), _short(title, TITLE_PX, room_px), INK, fonts.font(TITLE_PX)
    )
    draw.text(
        (MARGIN_PX, MARGIN_PX + round(TITLE_PX * 1.4)),
        _short(subtitle, TEXT_PX, room_px),
        SOFT,
        fonts.font(TEXT_PX),
    )
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        _draw_cell(page, cell, MARGIN_PX + column * (CELL_PX + GAP_PX), head_px + row * step_px)
    return page


def _draw_cell(page: Image.Image, cell: Cell, left: int, top: int) -> None:
    """The picture with all dimmed that is cut off, and two lines below it."""
    draw = ImageDraw.Draw(page)
    draw.rectangle((left, top, left + CELL_PX - 1, top + CELL_PX - 1), RULE)
    with Image.open(cell.thumb) as file:
        picture = file.convert("RGB")
    scale = CELL_PX / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    box = tuple(round(share * side) for share, side in zip(cell.frame, (*size, *size), strict=True))
    x0, y0, x1, y1 = box
    shown = ImageEnhance.Brightness(picture).enhance(DIMMED)
    shown.paste(picture.crop((x0, y0, x1, y1)), (x0, y0))
    ImageDraw.Draw(shown).rectangle((x0, y0, x1 - 1, y1 - 1), outline=FRAME, width=FRAME_PX)
    x, y = left + (CELL_PX - size[0]) // 2, top + (CELL_PX - size[1]) // 2
    page.paste(shown, (x, y))
    below = top + CELL_PX + 8
    draw.text((left, below), _short(cell.name, TEXT_PX, CELL_PX), INK, fonts.font(TEXT_PX))
    below += round(TEXT_PX * 1.35)
    draw.text((left, below), _short(cell.label, TEXT_PX, CELL_PX), SOFT, fonts.font(TEXT_PX))


def _short(text: str, size_px: int, room_px: int) -> str:
    """`text` in one line, cut with "…" where it is too long."""
    font = fonts.font(size_px)
    if font.getlength(text) <= room_px:
        return text
    while text and font.getlength(text + "…") > room_px:
        text = text[:-1]
    return text + "…"
