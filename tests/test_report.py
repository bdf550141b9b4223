from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from loraloom.errors import OutputUnwritable
from loraloom.evaluate.curves import Curves, Validation, draw_curves, smoothed
from loraloom.evaluate.report import Metric, PictureRow, ReportData, duration, write_report
from loraloom.starter.example import write_example
from loraloom.starter.world.scene import CHARACTERS


class Page(HTMLParser):
    """Collects what the page would load and whether its tags close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.scripts = 0
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.scripts += tag == "script"
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(tmp_path: Path, data: ReportData) -> str:
    write_report(tmp_path / "out" / "report.html", data)
    return (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_full_report_is_self_contained_and_escaped(tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    Image.new("RGB", (8, 8)).save(picture)
    evil = "<script>alert('x')</script>"
    data = ReportData(
        title=evil,
        verdict="Ready.",
        good=True,
        metrics=[Metric("likeness", "93 %", "≥ 85 %", True, evil), Metric("b", "1", "", None, "")],
        next_step=evil,
        sheet=picture,
        curves=picture,
        pictures=[PictureRow(picture, evil, evil, False)],
        settings={"rank": "16", evil: evil},
        seconds_by_phase={"train": 62.3, "draw": 8.0},
        peak_memory_mib=1234.5,
    )
    html = page(tmp_path, data)
    parsed = Page(html)
    assert parsed.scripts == 0 and parsed.open == []
    assert len(parsed.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in parsed.sources)
    assert "93 %" in html and "1 min 10 s" in html and "1,234 MiB" in html


def test_small_report_leaves_empty_parts_out(tmp_path: Path) -> None:
    html = page(tmp_path, ReportData("t", "Not ready.", False, [], ""))
    for heading in ("What to do next", "Pictures", "Curves", "Time and memory", "Settings"):
        assert heading not in html
    assert 'class="verdict bad"' in html


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.84, "0.8 s"),
        (12.4, "12 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3725, "1 h 02 min"),
    ],
)
def test_duration(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_smoothing_is_unbiased_at_the_start_and_keeps_a_constant() -> None:
    assert smoothed([2.0] * 50) == pytest.approx([2.0] * 50)
    assert smoothed([4.0, 4.0, 0.0], share=1)[0] == pytest.approx(4.0)
    assert smoothed([]) == []


def test_curves_are_drawn_the_same_each_time_even_without_data(tmp_path: Path) -> None:
    curves = Curves(
        losses=[(i, 1 / i) for i in range(1, 50)],
        validations=[Validation(i, 1 / i, 1.1 / i) for i in range(10, 50, 10)],
        best_step=40,
    )
    draw_curves(tmp_path / "a.png", curves)
    draw_curves(tmp_path / "b.png", curves)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw_curves(tmp_path / "c.png", Curves([], []))
    draw_curves(tmp_path / "d.png", Curves([(1, 0.5)], [Validation(1, 0.5, None)], best_step=1))
    assert Image.open(tmp_path / "c.png").size == (1800, 680)


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnwritable, match=r"a\.png could not be written"):
        draw_curves(tmp_path / "file" / "a.png", Curves([], []))
    with pytest.raises(OutputUnwritable, match=r"a\.html could not be written"):
        write_report(tmp_path / "file" / "a.html", ReportData("t", "Ready.", True, [], ""))
    with pytest.raises(OutputUnwritable, match=r"01\.png could not be written"):
        write_example(tmp_path / "file", CHARACTERS[0], 1)
