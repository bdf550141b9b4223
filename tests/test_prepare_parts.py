"""Preparing, in its parts: wishes, frame counts, cuts, frames at one rate."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from loraloom.dataset.prepare.motion import at_rate, clip_size, fit
from loraloom.dataset.prepare.plan import Plan, parse_box, parse_masks, parse_seconds
from loraloom.dataset.prepare.segments import Segment, cut, difference, shot_starts, small
from loraloom.dataset.prepare.subject import around_face, body_box, box_of
from loraloom.dataset.prepare.target import FrameRule, target_of, video_bases
from loraloom.errors import BaseUnknown, ConfigInvalid

RULES = [base.rule for base in video_bases().values()]


class TestWishes:
    @given(st.floats(0.001, 999), st.floats(0, 900))
    def test_seconds_come_back(self, shortest: float, more: float) -> None:
        shortest, longest = round(shortest, 3), round(min(shortest + more, 999), 3)
        assume(0 < shortest <= longest)
        assert parse_seconds(f"{shortest:.3f}-{longest:.3f}") == (shortest, longest)

    @given(st.text() | st.text("0123456789.-e+", max_size=12))
    def test_any_text_is_understood_or_refused(self, text: str) -> None:
        for parse in (parse_seconds, parse_box):
            try:
                numbers = parse(text)
            except ConfigInvalid as error:
                assert "is not possible" in str(error)
            else:
                assert all(np.isfinite(numbers))

    @pytest.mark.parametrize("text", ["", "2", "5-2", "0-0", "2–5", "a-b", "-1-5", "2-5-7"])
    def test_seconds_refused(self, text: str) -> None:
        with pytest.raises(ConfigInvalid, match="as in 2-5"):
            parse_seconds(text)

    @pytest.mark.parametrize("text", ["0,0,1", "0,0,1,0", "0.5,0,0.6,1", "a,b,c,d", "nan,0,1,1",
                                      "-0.1,0,1,1", "0,0,inf,1"])  # fmt: skip
    def test_boxes_refused(self, text: str) -> None:
        with pytest.raises(ConfigInvalid, match="shares of the picture's sides"):
            parse_box(text)

    def test_masks(self) -> None:
        assert (parse_masks("alpha"), parse_masks("grabcut")) == (("alpha", None),
                                                                 ("grabcut", None))  # fmt: skip
        with pytest.raises(ConfigInvalid, match="alpha, grabcut or a folder"):
            parse_masks("nowhere")

    @pytest.mark.parametrize(
        ("plan", "words"),
        [
            (Plan(), "Nothing is asked for"),
            (Plan(face=True, face_margin=-1), "0 to 5"),
            (Plan(box=(0, 0, 1, 1), png=True), "--masks grabcut"),
            (Plan(fps=0), "1 to 60"),
            (Plan(fps=61), "1 to 60"),
        ],
    )
    def test_wishes_that_cannot_be(self, plan: Plan, words: str) -> None:
        if plan.fps == 0:
            plan = Plan(fps=0, png=True)
        with pytest.raises(ConfigInvalid, match=words):
            plan.check()


class TestTargets:
    @pytest.mark.parametrize(
        ("name", "least", "most", "step"),
        [
            ("wan", 16, 81, 4),
            ("hunyuan-video", 16, 49, 4),
            ("hunyuan-video-1.5", 16, 121, 4),
            ("cogvideox", 16, 49, 8),
        ],
    )
    def test_frame_rules(self, name: str, least: int, most: int, step: int) -> None:
        """The largest step × k + 1 in the range, found by trying all."""
        rule = target_of(name).rule
        assert rule is not None
        for available in range(-3, 200):
            possible = [n for n in range(least, most + 1) if n % step == 1 and n <= available]
            assert rule.fit(available) == max(possible, default=0)

    def test_other_bases(self) -> None:
        assert (target_of("starter").side_px, target_of("starter").long_side_px) == (128, 128)
        assert target_of("sd15").rule is None
        with pytest.raises(BaseUnknown, match="no base 'wam'"):
            target_of("wam")

    def test_torch_is_not_imported(self) -> None:
        code = (
            "import sys; from loraloom.dataset.prepare.target import target_of; "
            "target_of('wan'); target_of('sd15'); assert 'torch' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestShots:
    def test_a_cut_stands_out(self) -> None:
        assert shot_starts([0.01] * 5 + [0.5] + [0.01] * 5) == [0, 6]

    def test_what_is_no_cut(self) -> None:
        assert shot_starts([0.2] * 12) == [0], "a fast pan"
        assert shot_starts([0.0] * 5 + [0.5, 0.5] + [0.0] * 5) == [0], "a flash"
        assert shot_starts([0.0] * 5 + [0.05] + [0.0] * 5) == [0], "a lamp goes on"
        assert shot_starts([]) == [0]

    def test_difference(self) -> None:
        black, white = (small(np.full((72, 128, 3), v, np.uint8)) for v in (0, 255))
        assert (difference(black, black), difference(black, white)) == (0, 1)


@given(
    st.floats(0, 50), st.floats(0.01, 60), st.sampled_from([8, 16, 24, 29.97, 30]),
    st.none() | st.tuples(st.floats(0.1, 6), st.floats(0, 6)), st.none() | st.sampled_from(RULES),
)  # fmt: skip
def test_parts_of_a_shot(
    start_s: float,
    length_s: float,
    fps: float,
    range_s: tuple[float, float] | None,
    rule: FrameRule | None,
) -> None:
    """They lie in it one after the other and are as long as was asked, unless the rule objects."""
    seconds = (range_s[0], range_s[0] + range_s[1]) if range_s else None
    end_s = start_s + length_s
    parts = cut(start_s, end_s, fps=fps, seconds=seconds, rule=rule)
    for before, after in pairwise(parts):
        assert after.start_s == pytest.approx(before.end_s)
    for part in parts:
        assert start_s <= part.start_s < part.end_s <= end_s + 1e-5
        assert part.start_s + (part.frames - 1) / fps < part.end_s + 1e-6
        if rule:
            assert rule.fit(part.frames) == part.frames
        if seconds:
            lasts_s = part.end_s - part.start_s
            assert lasts_s <= seconds[1] + 1e-5
            if not rule:
                assert lasts_s >= seconds[0] - 1e-5
    long_enough = seconds and length_s >= seconds[0] + 0.2 and seconds[0] * fps >= 1
    if long_enough and not rule:
        assert parts, "a shot that is long enough is used"


def test_a_long_shot_becomes_equal_parts() -> None:
    assert cut(0, 12, fps=24, seconds=(2, 5), rule=None) == [
        Segment(0, 4, 96), Segment(4, 8, 96), Segment(8, 12, 96)
    ]  # fmt: skip
    wan = target_of("wan").rule
    assert [p.frames for p in cut(0, 10, fps=24, seconds=(2, 5), rule=wan)] == [77, 77, 77]
    assert [p.frames for p in cut(0, 2, fps=30, seconds=None, rule=target_of("cogvideox").rule)] \
        == [25, 25]  # fmt: skip
    assert cut(0, 1.9, fps=24, seconds=(2, 5), rule=None) == []


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 40)), min_size=1, max_size=4),
    st.sampled_from([4.0, 8.0, 16.0]),
)
def test_frames_at_one_rate(steps: list[int], spans: list[tuple[int, int]], fps: float) -> None:
    """Against a search through all frames of the segment; times are whole 32nds, so exact."""
    ticks = np.cumsum([0, *steps])
    times_s = [float(tick) / 32 for tick in ticks]
    segments, at = [], 0
    for gap, ticks_long in spans:
        start, end = at + gap, at + gap + ticks_long
        at = end
        frames = int(ticks_long / 32 * fps)
        if frames:
            segments.append(Segment(start / 32, end / 32, frames))
    found = list(at_rate(((t, n) for n, t in enumerate(times_s)), segments, fps))
    expected = []
    for number, segment in enumerate(segments):
        inside = [n for n, t in enumerate(times_s) if segment.start_s <= t < segment.end_s]
        before = [n for n, t in enumerate(times_s) if t < segment.end_s]
        for k in range(segment.frames):
            wanted_s = segment.start_s + k / fps
            nearest = min(inside or before[-1:], key=lambda n: (abs(times_s[n] - wanted_s), -n))
            expected.append((number, nearest))
    assert found == expected


@given(st.integers(16, 4000), st.integers(16, 4000), st.sampled_from([None, 512, 832, 1280]),
       st.sampled_from([1, 2, 8, 16]))  # fmt: skip
def test_clip_sizes(width: int, height: int, long_side: int | None, multiple: int) -> None:
    scaled, kept = clip_size((width, height), long_side, multiple)
    assert all(side % multiple == 0 and side > 0 for side in kept)
    assert all(a >= b for a, b in zip(scaled, kept, strict=True))
    assert max(kept) <= max(long_side or max(width, height), multiple)
    assert all(a - b < multiple for a, b in zip(scaled, kept, strict=True))
    frame = np.zeros((height, width, 3), np.uint8)[:64, :64]
    assert fit(frame, scaled, kept).shape == (kept[1], kept[0], 3)


class TestBoxes:
    @given(st.integers(0, 400), st.integers(0, 300), st.integers(20, 300), st.floats(0, 5))
    def test_a_square_inside_the_picture(self, x: int, y: int, side: int, margin: float) -> None:
        left, top, width, height = around_face((x, y, side, side), margin, (640, 480))
        assert width == height == min(round(side * (1 + 2 * margin)), 480)
        assert 0 <= left <= 640 - width and 0 <= top <= 480 - height

    def test_the_face_is_in_the_middle(self) -> None:
        assert around_face((300, 200, 40, 40), 1, (640, 480)) == (260, 160, 120, 120)

    def test_a_body_is_below_its_face(self) -> None:
        assert body_box((100, 50, 40, 40), (300, 400)) == (50, 20, 140, 380)

    def test_shares(self) -> None:
        assert box_of((0.25, 0.5, 0.5, 0.5), (200, 100)) == (50, 50, 100, 50)
