"""A contact sheet: rows of pictures with their labels, made to be looked at and shared."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from loraloom import fonts

_PAPER = (250, 249, 246)
_INK = (28, 30, 36)
_SOFT = (110, 113, 122)
_RULE = (222, 219, 212)
_SCALE = 2  # drawn for screens with two pixels a point


@dataclass(frozen=True)
class _Layout:
    """Sizes in pixels; a picture's cell is square."""

    cell: int
    gap: int = 8 * _SCALE
    margin: int = 28 * _SCALE
    label_width: int = 160 * _SCALE
    title: int = 20 * _SCALE
    text: int = 12 * _SCALE

    @property
    def line(self) -> int:
        return round(self.text * 1.42)


def sheet(
    rows: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
    subtitle: str = "",
) -> Image.Image:
    """The labelled grid as one RGB picture.

    `rows[i][j]` stands in row i under `column_labels[j]`; rows may differ in length. Small
    pictures are enlarged to at least 176 points. Long labels are wrapped, and end in "…" where
    even the whole height of a row would not hold them.
    """
    assert len(rows) == len(row_labels), "one label a row"
    columns = max((len(row) for row in rows), default=0)
    layout = _Layout(cell=_cell(rows))
    head, heading = _heading(layout, title, subtitle), _column_height(layout, column_labels)
    left = layout.margin + (layout.label_width + 2 * layout.gap if any(row_labels) else 0)
    width = left + columns * (layout.cell + layout.gap) - layout.gap + layout.margin
    height = head + heading + len(rows) * (layout.cell + layout.gap) - layout.gap + layout.margin
    page = Image.new("RGB", (max(width, 480 * _SCALE), height), _PAPER)
    _draw_heading(page, layout, title, subtitle)
    _draw_columns(page, layout, column_labels, left, head + heading)
    for i, (row, label) in enumerate(zip(rows, row_labels, strict=True)):
        top = head + heading + i * (layout.cell + layout.gap)
        _draw_label(page, layout, label, top)
        for j, picture in enumerate(row):
            place = (left + j * (layout.cell + layout.gap), top)
            _draw_picture(page, layout, picture, place)
    return page


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """`text` in at most `lines` lines of at most `width` px, the last one cut with "…"."""
    wrapped = [""]
    for word in text.split():
        longer = f"{wrapped[-1]} {word}".strip()
        if not wrapped[-1] or font.getlength(longer) <= width:
            wrapped[-1] = longer
        else:
            wrapped.append(word)
    cut = len(wrapped) > lines
    shown = [_shorten(line, font, width, force=False) for line in wrapped[:lines]]
    return [*shown[:-1], _shorten(shown[-1], font, width, force=True)] if cut else shown


def _shorten(line: str, font: ImageFont.FreeTypeFont, width: int, *, force: bool) -> str:
    if not force and font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip(" ,;") + "…"


def _cell(rows: Sequence[Sequence[Image.Image]]) -> int:
    side = max((max(p.size) for row in rows for p in row), default=0)
    return min(max(side, 176 * _SCALE), 512)


def _heading(layout: _Layout, title: str, subtitle: str) -> int:
    lines = (layout.title * 2 if title else 0) + (layout.line if subtitle else 0)
    return layout.margin + lines


def _column_height(layout: _Layout, labels: Sequence[str]) -> int:
    font = fonts.font(layout.text)
    most = max((len(wrap(label, font, layout.cell, 3)) for label in labels if label), default=0)
    return most * layout.line + (layout.gap if most else 0)


def _draw_heading(page: Image.Image, layout: _Layout, title: str, subtitle: str) -> None:
    draw, room = ImageDraw.Draw(page), page.width - 2 * layout.margin
    top = layout.margin - layout.gap
    if title:
        font = fonts.font(layout.title)
        line = _shorten(title, font, room, force=False)
        draw.text((layout.margin, top), line, _INK, font)
        top += round(layout.title * 1.5)
    if subtitle:
        font = fonts.font(layout.text)
        line = _shorten(subtitle, font, room, force=False)
        draw.text((layout.margin, top), line, _SOFT, font)


def _draw_columns(
    page: Image.Image, layout: _Layout, labels: Sequence[str], left: int, bottom: int
) -> None:
    draw, font = ImageDraw.Draw(page), fonts.font(layout.text)
    for j, label in enumerate(labels):
        lines = wrap(label, font, layout.cell, 3)
        top = bottom - layout.gap - len(lines) * layout.line
        for k, line in enumerate(lines):
            x = left + j * (layout.cell + layout.gap)
            draw.text((x, top + k * layout.line), line, _SOFT, font)


def _draw_label(page: Image.Image, layout: _Layout, label: str, top: int) -> None:
    draw, font = ImageDraw.Draw(page), fonts.font(layout.text)
    lines = wrap(label, font, layout.label_width, layout.cell // layout.line)
    for k, line in enumerate(lines):
        draw.text((layout.margin, top + k * layout.line), line, _INK, font)


def _draw_picture(
    page: Image.Image, layout: _Layout, picture: Image.Image, place: tuple[int, int]
) -> None:
    """Fitted into the cell and centred, on a quiet ground, with a hairline around it."""
    ratio = layout.cell / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    fitted = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    x = place[0] + (layout.cell - size[0]) // 2
    y = place[1] + (layout.cell - size[1]) // 2
    draw = ImageDraw.Draw(page)
    draw.rectangle((*place, place[0] + layout.cell - 1, place[1] + layout.cell - 1), fill=_RULE)
    page.paste(fitted, (x, y))
    draw.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), outline=_RULE, width=1)
