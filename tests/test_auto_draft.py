"""From what was seen to a caption: leaks out, standard terms, the trigger first."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.captions.auto import hair
from loraloom.captions.auto.answer import Answer, Failure, Tag
from loraloom.captions.auto.draft import Order, caption_of, own_tags
from loraloom.captions.auto.reply import caption_in, captions_in
from loraloom.captions.lint import Captioned, Check, lint
from loraloom.captions.rules import Style
from loraloom.kinds import Kind

PERSON = (
    "1girl, solo, long hair, looking at viewer, smile, bangs, blue eyes, shirt, black hair, "
    "white shirt, upper body, :d, ponytail, outdoors, grey jacket, v, cat ears, tail, no humans, "
    "day, blurry background"
)
UNTOLD = {"incomplete", "too-brief", "too-long", "same-clothing"}


def tags(text: str, share: float = 0.9) -> Answer:
    return Answer(tuple(Tag(name, share) for name in text.split(", ")))


def order(
    kind: Kind = Kind.CHARACTER, trigger: str = "ohwx woman", style: Style = "tags",
    threshold: float = 0.35, hair: str = "one",
) -> Order:  # fmt: skip
    several = "several" if hair == "several" else "one"
    return Order(Check(kind, trigger, hairstyles=several), style, threshold)


def test_a_characters_caption_has_no_identity_and_the_order_of_captions() -> None:
    assert caption_of(tags(PERSON), order()) == (
        "ohwx woman, upper body, big smile, looking at viewer, peace sign, white shirt, "
        "gray jacket, blurred background, outdoors, daylight"
    )


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("style", ["tags", "sentences", "hybrid"])
def test_no_caption_leaks_or_lacks_its_trigger(kind: Kind, style: Style) -> None:
    told = order(kind, "ohwx thing", style)
    caption = caption_of(tags(PERSON + ", watercolor (medium), sketch, brick wall"), told)
    found = lint([Captioned("01.png", caption)], replace(told.check, style=style))
    assert {finding.code for finding in found} <= UNTOLD, (caption, found)
    assert caption.startswith("ohwx thing")


def test_a_tag_must_be_as_sure_as_the_threshold() -> None:
    answer = Answer((Tag("laughing", 0.36), Tag("hat", 0.34), Tag("beach", 0.51)))
    assert caption_of(answer, order()) == "ohwx woman, laughing, beach"
    assert caption_of(answer, order(threshold=0.5)) == "ohwx woman, beach"


def test_names_stay_for_characters_only_and_only_where_sure() -> None:
    answer = Answer((Tag("laughing", 0.9), Tag("hatsune miku", 0.9, names=True)))
    unsure = Answer((Tag("laughing", 0.9), Tag("hatsune miku", 0.8, names=True)))
    assert caption_of(answer, order()) == "ohwx woman, laughing, hatsune miku"
    assert caption_of(unsure, order()) == "ohwx woman, laughing"
    assert caption_of(answer, order(Kind.STYLE, "mystyle")) == "mystyle, laughing"


def test_a_style_says_the_subject_and_not_the_medium() -> None:
    answer = tags("cat, outdoors, watercolor (medium), traditional media, sunset, monochrome")
    assert caption_of(answer, order(Kind.STYLE, "mystyle")) == "mystyle, cat, outdoors, sunset"


def test_a_wider_tag_goes_where_a_narrower_one_is_said() -> None:
    answer = tags("shirt, white shirt, shirt lift, hat, straw hat")
    caption = caption_of(answer, order(Kind.STYLE, "mystyle"))
    assert caption.split(", ").count("shirt") == 0
    assert {"white shirt", "straw hat"} <= set(caption.split(", "))
    assert "hat" not in caption.split(", ")


def test_a_characters_caption_has_few_words_that_no_list_has() -> None:
    answer = Answer(tuple(Tag(f"strange thing {n}", 0.9 - n / 100) for n in range(9)))
    caption = caption_of(answer, order())
    assert caption == "ohwx woman, strange thing 0"
    assert caption_of(answer, order(Kind.STYLE, "mystyle")).count("strange thing") == 9


def test_what_the_whole_set_shows_is_not_said() -> None:
    answers = [tags("mug, halo, wooden table"), tags("mug, halo"), tags("mug, spoon")] * 3
    assert own_tags(answers, order(Kind.OBJECT, "myproduct")) == {"mug", "halo"}
    assert own_tags(answers[:5], order(Kind.OBJECT, "myproduct")) == frozenset()
    assert own_tags(answers, order(Kind.STYLE, "mystyle")) == frozenset()
    named = [Answer((Tag("laughing", 0.9), Tag("hatsune miku", 0.9, names=True)))] * 9
    assert own_tags(named, order()) == frozenset()
    told = replace(order(Kind.OBJECT, "myproduct"), own=frozenset({"mug", "halo"}))
    assert caption_of(answers[2], told) == "myproduct, spoon"


def test_the_class_word_of_the_trigger_is_not_said_again() -> None:
    answer = tags("mug, yellow mug, white background")
    assert caption_of(answer, order(Kind.OBJECT, "ohwx mug")) == "ohwx mug, white background"


@pytest.mark.parametrize(
    ("kind", "trigger", "text", "caption"),
    [
        (Kind.CHARACTER, "ohwx woman",
         "A young Asian woman with long black hair laughing in a park, natural lighting.",
         "ohwx woman laughing in a park, natural lighting."),
        (Kind.OBJECT, "ohwx mug", "A red ceramic mug with a round handle on a wooden desk.",
         "ohwx mug on a wooden desk."),
        (Kind.CHARACTER, "ohwx woman", "一位年輕的亞洲女子留著黑色長髮，在公園裡大笑，自然光。",
         "ohwx woman，在公園裡大笑，自然光。"),
        (Kind.CHARACTER, "ohwx woman", "ohwx woman reads a book at a desk.",
         "ohwx woman reads a book at a desk."),
    ],
)  # fmt: skip
def test_the_trigger_takes_the_subjects_place(
    kind: Kind, trigger: str, text: str, caption: str
) -> None:
    check = Check(kind, trigger, style="sentences", hairstyles="one")
    assert caption_of(Answer(text=text), Order(check, "sentences")) == caption


def test_sentences_become_tags_where_the_base_wants_them() -> None:
    check = Check(Kind.CHARACTER, "ohwx woman", style="sentences", hairstyles="one")
    text = "A woman is laughing in a park, wearing a white t-shirt."
    assert caption_of(Answer(text=text), Order(check, "tags")) == (
        "ohwx woman, laughing, white t-shirt, park"
    )


def test_nothing_left_to_say_is_empty() -> None:
    assert caption_of(tags("1girl, solo, black hair"), order(trigger="")) == ""


@pytest.mark.parametrize(
    ("captions", "changes"),
    [
        (["ponytail, smile"] * 5 + ["hair down, smile"] * 5, True),
        (["long hair, bangs, ponytail"] * 9 + ["long hair"], False),
        (["long hair, bangs"] * 10 + ["ponytail"], False),
        (["smile"] * 10, False),
        ([], False),
    ],
)
def test_hair_changes_where_two_hairstyles_stand_apart(captions: list[str], changes: bool) -> None:
    assert hair.changes(captions) is changes


def test_several_hairstyles_are_said_and_the_colour_is_not() -> None:
    caption = caption_of(tags("ponytail, black hair, laughing"), order(hair="several"))
    assert caption == "ohwx woman, laughing, ponytail"


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        ("Caption: a cat on a mat.", "a cat on a mat."),
        ('"A cat on a mat."', "A cat on a mat."),
        ("```\na cat on a mat\n```", "a cat on a mat"),
        ("<think>A cat? Yes.</think>\n**Tags:** cat, mat", "cat, mat"),
        ("Here is the caption:\n\nA cat\non a mat.", "A cat on a mat."),
        ("The image shows a cat on a mat. The overall mood is calm.", "a cat on a mat."),
        ("a \x1b[31mcat\x00 on\ta mat\u2028\ud800", "a [31mcat on a mat"),
        ("標註：一隻貓在墊子上。整體氣氛寧靜。", "一隻貓在墊子上。"),
    ],
)
def test_what_models_put_around_a_caption_is_taken_off(said: str, caption: str) -> None:
    assert caption_in(said) == Answer(text=caption)


@pytest.mark.parametrize(
    "said",
    ["", "  \n", "<think>hm", "I’m sorry, but I can't help with that.", "抱歉，我無法描述。"],
)
def test_refusals_and_empty_answers_are_no_captions(said: str) -> None:
    assert isinstance(caption_in(said), Failure)


def test_a_line_a_picture_is_read_by_its_number() -> None:
    said = "Here you are:\n1: cat, mat\n**3.** dog, rug\n7: bird"
    assert captions_in(said, 3) == {0: Answer(text="cat, mat"), 2: Answer(text="dog, rug")}


@given(st.text(max_size=200))
def test_any_answer_is_a_caption_or_a_failure(said: str) -> None:
    found = caption_in(said)
    assert isinstance(found, Failure) or found.text.strip()
