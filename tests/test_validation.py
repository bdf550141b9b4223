from __future__ import annotations

import pytest

from loraloom.train.validation import (
    best_step,
    overfits,
    overfitting_advice,
    validated,
)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ({}, 9),
        ({3: 1.0, 6: 0.5, 9: 0.9}, 6),
        ({3: 1.0, 6: 0.500, 9: 0.504}, 9),
        ({3: 1.0, 6: 0.500, 9: 0.506}, 6),
    ],
)
def test_best_is_the_latest_of_the_lowest(losses: dict[int, float], best: int) -> None:
    assert best_step(losses, 9) == best


def test_overfitting_is_a_clear_rise() -> None:
    assert overfits({1: 0.5, 2: 0.56})
    assert not overfits({1: 0.5, 2: 0.54})
    assert not overfits({})


def test_overfitting_is_told_with_advice() -> None:
    losses = {10: 0.6, 20: 0.5, 30: 0.56, 40: 0.58, 50: 0.5, 60: 0.6}
    told = [n for n in losses if overfits({s: v for s, v in losses.items() if s <= n})]
    assert told == [30, 40, 60]
    advice = overfitting_advice({10: 0.6, 20: 0.5, 30: 0.56})
    for said in ("step 30", "12%", "step 20", "schedule.steps", "more pictures"):
        assert said in advice


def test_gap() -> None:
    assert validated(1, 0.5, 0.75).gap == 0.25
    assert validated(1, 0.5, None).gap is None
