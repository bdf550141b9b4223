"""Tags as sentences and back."""

import pytest
from tests.captions import RIGHT, Row, codes

from loraloom.captions.lint import Check
from loraloom.captions.sentences import convert
from loraloom.kinds import Kind

TAGS = "1girl, brown hair, blue eyes, school uniform, smiling, outdoors"
SENTENCE = (
    "a girl with brown hair and blue eyes wearing a school uniform, smiling while standing outdoors"
)
SCENERY = "landscape, sunset, mountains, lake, trees, clouds"


def test_the_reference_examples() -> None:
    assert convert(TAGS, "sentences") == SENTENCE
    assert convert(SCENERY, "sentences") == (
        "a scenic landscape at sunset with mountains in the background, a calm lake in the "
        "foreground, surrounded by trees under cloudy skies"
    )


def test_back_to_tags() -> None:
    tags = convert(SENTENCE, "tags").split(", ")
    assert set(TAGS.split(", ")) <= set(tags)
    assert tags[0] == "1girl"


def test_with_a_trigger() -> None:
    text = "ohwx woman, gentle smile, looking at viewer, hoodie, glasses, cafe, warm lighting"
    assert convert(text, "sentences", "ohwx woman") == (
        "ohwx woman wearing a hoodie and glasses, with a gentle smile and looking at the viewer "
        "while standing in a cafe, in warm lighting"
    )


def test_hybrid_is_a_short_sentence_and_tags() -> None:
    text = (
        "ohwx woman, front view, laughing, eyes closed, white t-shirt, park background, backlight"
    )
    assert convert(text, "hybrid", "ohwx woman") == (
        "ohwx woman, laughing and with eyes closed while standing in a park, front view, "
        "white t-shirt, backlight"
    )


def test_chinese() -> None:
    assert convert("1girl，棕色頭髮，藍色眼睛，校服，微笑，戶外", "sentences") == (
        "一位女孩有著棕色頭髮和藍色眼睛，穿戴著校服，微笑，身在戶外"
    )


def test_what_has_the_style_already_stays() -> None:
    assert convert(SENTENCE, "sentences") == SENTENCE
    assert convert(TAGS, "tags") == TAGS


@pytest.mark.parametrize(
    "row", [row for row in RIGHT if row.check.kind is Kind.CHARACTER], ids=lambda row: row.text
)
def test_a_right_caption_stays_right_as_a_sentence(row: Row) -> None:
    text, check = row.text, row.check
    sentence = convert(text, "sentences", check.trigger)
    assert check.trigger.casefold() in sentence.casefold()
    assert codes(sentence, Check(check.kind, check.trigger, style="sentences")) == set()
    assert codes(convert(text, "tags", check.trigger), check) == set()


@pytest.mark.parametrize("text", ["", ",", "x", "，，", "((", "ohwx woman"])
@pytest.mark.parametrize("style", ["tags", "hybrid", "sentences"])
def test_nothing_to_convert(text: str, style: str) -> None:
    assert isinstance(convert(text, style, "ohwx woman"), str)  # type: ignore[arg-type]
