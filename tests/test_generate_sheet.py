import pytest
from PIL import Image, ImageFont

from loraloom.generate.sheet import sheet, wrap

RED, BLUE = (200, 30, 30), (30, 30, 200)


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (128, 128)) -> Image.Image:
    return Image.new("RGB", size, colour)


def test_every_picture_stands_once_in_reading_order() -> None:
    page = sheet([[picture(RED), picture(BLUE)]], ["a prompt"], ["before", "after"], "Mia")
    found = [[p for p in column if p in (RED, BLUE)] for column in columns_of(page)]
    assert sum(len(c) for c in found) > 2 * 340 * 340
    order = list(dict.fromkeys(colour for column in found for colour in column))
    assert order == [RED, BLUE]


def columns_of(page: Image.Image) -> list[list[object]]:
    pixels = page.load()
    assert pixels is not None
    return [[pixels[x, y] for y in range(page.height)] for x in range(page.width)]


@pytest.mark.parametrize("rows", [[], [[]], [[picture(RED)], []], [[picture(RED, (40, 120))]]])
def test_odd_grids_are_drawn(rows: list[list[Image.Image]]) -> None:
    page = sheet(rows, ["x" * 500] * len(rows), ["column"], "t" * 900, "— ü λ я → " * 50)
    assert page.mode == "RGB" and page.width >= 960


def test_labels_are_wrapped_to_width_and_cut_with_an_ellipsis() -> None:
    font = ImageFont.load_default(24)
    assert isinstance(font, ImageFont.FreeTypeFont)
    lines = wrap("a woman in a red coat before a lighthouse " * 3, font, 200, 3)
    assert len(lines) == 3 and lines[-1].endswith("…")
    assert all(font.getlength(line) <= 200 for line in lines)
    assert wrap("short", font, 200, 3) == ["short"]
    assert wrap("", font, 200, 3) == [""]
