"""Captions as words: cases, spellings, weights, and Chinese without spaces."""

import pytest

from loraloom.captions.reading import read
from loraloom.captions.words import forms, is_chinese, split_phrases, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [("Looking_At_Viewer", ["looking", "at", "viewer"]),
     ("(smile:1.2), t-shirt", ["smile", "t", "shirt"]),
     ("3/4 view", ["3/4", "view"]),
     ("<lora:x:0.5> hat", ["hat"]),
     ("woman's hat", ["woman", "hat"]),
     ("白色T恤", ["白", "色", "t", "恤"])],
)  # fmt: skip
def test_words(text: str, words: list[str]) -> None:
    assert [word.text for word in split_words(text)] == words


def test_places_are_those_of_the_text() -> None:
    text = "ohwx woman, (Brown_Hair:1.1), 大笑。"
    for word in split_words(text):
        assert text[word.start : word.end].casefold() == word.text


def test_a_stop_ends_a_phrase_but_not_a_number() -> None:
    assert len(split_phrases("one (two:1.25). three，four、five...")) == 4


@pytest.mark.parametrize(
    ("word", "stem"),
    [("eyes", "eye"), ("dresses", "dress"), ("dress", "dress"), ("cities", "city")],
)
def test_plural(word: str, stem: str) -> None:
    assert forms(word) == stem


def test_verb_forms_meet() -> None:
    assert len({forms(word, verb=True) for word in ("smile", "smiles", "smiled", "smiling")}) == 1
    assert forms("running", verb=True) == forms("run", verb=True)


def test_language_apart_from_the_trigger() -> None:
    assert is_chinese("微笑，海灘") and not is_chinese("a smiling woman named 花")
    assert read("ohwx 女子，微笑，看向觀者", "ohwx 女子").language == "zh-TW"


def test_longest_term_wins() -> None:
    reading = read("ohwx woman, black hair ribbon, looking at phone", "ohwx woman")
    assert reading.standards == {"hair ribbon", "looking at phone"}


@pytest.mark.parametrize(
    ("text", "category"),
    [("A girl laughs in the garden", "expression"), ("GREY BACKGROUND", "background"),
     ("a woman wearing two hats and red dresses", "clothing"), ("站在花園裡", "background"),
     ("gazing out of the window", "eye_direction"), ("GOLDEN sunlight", "lighting")],
)  # fmt: skip
def test_categories_are_found(text: str, category: str) -> None:
    assert read(text).says(category)
