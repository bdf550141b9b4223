from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.config import DataConfig
from loraloom.dataset.buckets import Bucket, plan_crop
from loraloom.dataset.folder import Item
from loraloom.families.info import BaseProfile
from loraloom.train.batches import Example, caption_variants, examples_of, pick, plan, split

DATA = DataConfig(folder=Path("pictures"))


def _example(number: int, *, width_px: int = 64, prior: bool = False) -> Example:
    crop = plan_crop(width_px, 64, Bucket(width_px, 64))
    return Example(Path("x.png"), f"{number}-{prior}", f"zk, a, b, c, {number}", crop, prior=prior)


SQUARE = [_example(i) for i in range(5)]
MIXED = [*SQUARE, *(_example(9 + i, width_px=96) for i in range(2))]


@given(st.integers(1, 6), st.integers(0, 2**40))
def test_examples_come_equally_often(batch_size: int, seed: int) -> None:
    counts = Counter(e.key for batch in plan(SQUARE, batch_size, 20, 0.0, seed) for e in batch)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_batch_has_one_bucket_and_a_resume_the_same_plan() -> None:
    whole = plan(MIXED, 3, 40, 0.0, 7)
    assert all(len({e.crop.bucket for e in batch}) == 1 for batch in whole)
    assert whole[:15] == plan(MIXED, 3, 15, 0.0, 7)
    assert whole != plan(MIXED, 3, 40, 0.0, 8)


@pytest.mark.parametrize(("batch_size", "share"), [(4, 0.25), (1, 0.5), (3, 0.5)])
def test_prior_share(batch_size: int, share: float) -> None:
    examples = [*SQUARE, *(_example(i, prior=True) for i in range(10))]
    picked = [e.prior for batch in plan(examples, batch_size, 24, share, 0) for e in batch]
    assert sum(picked) == int(len(picked) * share)


def test_split_is_by_content() -> None:
    training, held_out = split(MIXED, 0.1, 0)
    assert len(held_out) == 1 and {*training, *held_out} == set(MIXED)
    assert split(MIXED[::-1], 0.1, 0)[1] == held_out
    assert split(MIXED[:4], 0.1, 0)[1] == ()
    assert split(MIXED, 0.0, 0)[1] == ()


def test_examples_do_not_depend_on_file_names() -> None:
    profile = BaseProfile("Tiny", 64, 16, 2.0)
    items = [Item(Path(f"{n}.png"), f"shade {n}", f"sha {n}", 64, 64) for n in range(6)]
    renamed = [replace(item, path=Path(f"{9 - n}.png")) for n, item in enumerate(items)]
    one = examples_of(items, DATA, profile)
    other = examples_of(sorted(renamed, key=lambda item: item.path), DATA, profile)
    assert [e.key for e in one] == [e.key for e in other]


def test_shuffled_captions_keep_the_first_tags() -> None:
    variants = caption_variants(SQUARE[0], replace_data(shuffle_tags=True, keep_tags=2), 0)
    assert len(set(variants)) > 3
    for caption in variants:
        assert caption.startswith("zk, a, ")
        assert sorted(caption.split(", ")) == sorted(SQUARE[0].caption.split(", "))
    assert caption_variants(SQUARE[0], DATA, 0) == (SQUARE[0].caption,)


def test_captions_of_full_width_commas_are_shuffled_too() -> None:
    words = ["ohwx 女子", "紅衣", "微笑", "公園", "黃昏"]
    example = replace(SQUARE[0], caption="，".join(words))
    variants = caption_variants(example, replace_data(shuffle_tags=True, keep_tags=1), 0)
    assert len(set(variants)) > 3
    for caption in variants:
        first, *others = caption.split("，")
        assert first == words[0] and sorted(others) == sorted(words[1:])


def test_picks_drop_captions_and_mirror_at_their_rate() -> None:
    data = replace_data(caption_dropout=0.3, mirror=True)
    picks = [pick(SQUARE[0], data, 0, step, 0) for step in range(400)]
    assert sum(p.caption == "" for p in picks) == pytest.approx(120, abs=30)
    assert sum(p.mirrored for p in picks) == pytest.approx(200, abs=35)
    again = pick(SQUARE[0], data, 0, 5, 0)
    assert (again.caption, again.mirrored) == (picks[5].caption, picks[5].mirrored)
    assert not any(pick(SQUARE[0], DATA, 0, step, 0).mirrored for step in range(50))


def test_key_tells_same_pictures_with_other_captions_apart() -> None:
    assert SQUARE[0].key != replace(SQUARE[0], caption="other").key


def replace_data(**changes: object) -> DataConfig:
    return DataConfig.model_validate({"folder": "pictures", **changes})
