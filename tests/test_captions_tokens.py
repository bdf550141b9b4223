"""Tokens of the starter base's own tokenizer, and triggers that are rare for a base."""

from pathlib import Path

import pytest
from tests import tiny_families

from loraloom.captions import trigger
from loraloom.captions.lint import Captioned, Check, lint
from loraloom.captions.reading import read
from loraloom.captions.tokens import Counter, counter, light_counter
from loraloom.errors import BaseUnknown
from loraloom.kinds import Kind


@pytest.fixture(scope="module")
def starter() -> Counter:
    return counter("starter")


class Clip:
    """A stand-in for CLIP's tokenizer: 49,408 tokens, the frequent words first."""

    vocab_size = 49408
    words = {"woman": 2308, "sks": 48136, "bloom": 11000}  # noqa: RUF012

    def __call__(self, text: str, **_: object) -> "Clip":
        self.input_ids = [i for word in text.split() for i in self._ids(word)]
        return self

    def _ids(self, word: str) -> list[int]:
        return [self.words[word]] if word in self.words else [1, 2, 3]


def test_every_word_of_the_world_is_one_token(starter: Counter) -> None:
    count = starter.count("front view, laughing")
    assert (count.tokens, count.chunks, count.cut_at) == (4, 1, None)
    assert starter.limit == 75 and starter.chunked


@pytest.mark.parametrize(
    "text",
    ["front view, laughing", " ".join(["beach"] * 75 + ["park"] * 5), "Zürich, 圖書館, ohwx", ""],
)
def test_the_light_counter_counts_the_same(starter: Counter, text: str) -> None:
    light = light_counter("starter")
    assert light is not None
    assert light.ids(text) == starter.ids(text)
    assert light.count(text) == starter.count(text)
    assert (light.vocabulary_size, light.limit) == (starter.vocabulary_size, starter.limit)


def test_a_base_that_is_not_here_has_no_counter(tmp_path: Path) -> None:
    assert light_counter("sdxl") is None
    assert light_counter(str(tmp_path)) is None


def test_where_the_second_chunk_begins(starter: Counter) -> None:
    text = " ".join(["beach"] * 75 + ["park"] * 5)
    count = starter.count(text)
    assert (count.tokens, count.chunks) == (80, 2)
    assert count.cut_at is not None and text[count.cut_at :].split() == ["park"] * 5


def test_a_long_caption_is_told(starter: Counter) -> None:
    text = "mystyle, a cat on a beach, " + ", ".join(["park"] * 36)
    found = lint([Captioned("1", text)], Check(Kind.STYLE, "mystyle"), starter)
    assert [f.code for f in found] == ["truncated"]
    assert "another chunk of 75" in found[0].message


def test_bases_that_cut_say_so() -> None:
    cutting = Counter(counter("starter").tokenizer, 75, chunked=False)
    text = "mystyle, a cat on a beach, " + ", ".join(["park"] * 36)
    found = lint([Captioned("1", text)], Check(Kind.STYLE, "mystyle"), cutting)
    assert "cut off" in found[0].message


def test_a_tokenizer_that_tells_no_places_is_asked_for_them(tmp_path: Path) -> None:
    slow = counter(str(tiny_families.save("kolors", tmp_path)))
    text = "ab " * 200
    cut_at = slow.count(text).cut_at
    assert cut_at is not None and not slow.tokenizer.is_fast
    assert len(slow.ids(text[:cut_at])) == slow.limit < len(slow.ids(text[: cut_at + 1]))


def test_unknown_base() -> None:
    with pytest.raises(BaseUnknown):
        counter("no-such-base")


@pytest.mark.parametrize(
    "words", ["ohwx woman", "mystyle", "myproduct", "dblexp", "watercolor_wash", "xphone_pro",
              "character_a", "zvkr man", "qelu", "tok3n", "ohwx 女子"],
)  # fmt: skip
def test_rare_triggers(words: str) -> None:
    assert trigger.common_words(words) == []


@pytest.mark.parametrize("words", ["woman", "blue car", "laughing", "a cat", "女子", "watercolor"])
def test_common_triggers(words: str) -> None:
    assert trigger.common_words(words)
    found = lint([Captioned("1", f"{words}, tree, road, hill")], Check(Kind.STYLE, words))
    assert "trigger-common" in {f.code for f in found}


def test_rare_for_the_tokenizer() -> None:
    clip = Counter(Clip(), 75, chunked=True)
    assert trigger.common_words("bloom woman", clip.ids, clip.vocabulary_size)
    assert not trigger.common_words("bloom woman")
    assert not trigger.common_words("sks woman", clip.ids, clip.vocabulary_size)
    assert not trigger.common_words("qvzx", clip.ids, clip.vocabulary_size)


def test_unique() -> None:
    found = lint(
        [Captioned("1", "ohwx woman, a portrait of ohwx, smiling, hat, park, sun, looking up")],
        Check(Kind.CHARACTER, "ohwx woman"),
    )
    assert "trigger-common" in {f.code for f in found}


@pytest.mark.parametrize(
    ("text", "written"),
    [("ohwx_woman, hat", "ohwx_woman"), ("OHWX-Woman, hat", "OHWX-Woman"), ("ohwx, hat", "ohwx"),
     ("owhx woman, hat", "owhx woman"), ("ohwx girl, hat", "ohwx girl")],
)  # fmt: skip
def test_miswritten(text: str, written: str) -> None:
    span = trigger.variant(read(text, "ohwx woman"), "ohwx woman")
    assert span is not None and text[slice(*span)] == written


@pytest.mark.parametrize("text", ["a woman in a hat", "show woman hats", "", "who, hat"])
def test_not_meant_to_be_the_trigger(text: str) -> None:
    assert trigger.variant(read(text, "ohwx woman"), "ohwx woman") is None
