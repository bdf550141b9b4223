"""A caption in pieces: trigger, what is said, what is given away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.captions.marked import mark
from loraloom.captions.measure import Check
from loraloom.kinds import Kind

WOMAN = Check(Kind.CHARACTER, "ohwx woman", hairstyles="one")


@pytest.mark.parametrize(
    ("caption", "roles", "missing"),
    [
        (
            "ohwx woman, long black hair, smiling, red jacket",
            {
                "ohwx woman": "trigger", "long black hair": "leak", "smiling": "said",
                "red jacket": "said",
            },
            {"eye_direction", "background", "lighting"},
        ),
        ("Ohwx Woman，長髮，微笑", {"Ohwx Woman": "trigger", "長髮": "leak", "微笑": "said"},
         {"eye_direction", "clothing", "background", "lighting"}),
        # What nobody knows may tell the expression or the clothing.
        ("qqq, flat color style", {}, {"eye_direction", "background", "lighting"}),
        ("", {}, set()),
    ],
)  # fmt: skip
def test_roles(caption: str, roles: dict[str, str], missing: set[str]) -> None:
    marked = mark(caption, WOMAN)
    assert {piece.text: piece.role for piece in marked.pieces if piece.role} == roles
    assert set(marked.missing) == missing


def test_hair_is_said_where_the_set_has_several_hairstyles() -> None:
    several = Check(Kind.CHARACTER, "ohwx woman", hairstyles="several")
    roles = {piece.text: piece.role for piece in mark("ohwx woman, ponytail", several).pieces}
    assert roles.get("ponytail", "") != "leak"
    roles = {piece.text: piece.role for piece in mark("ohwx woman, ponytail", WOMAN).pieces}
    assert roles["ponytail"] == "leak"


def test_a_very_long_caption_is_shown_whole_and_read_in_part() -> None:
    caption = "ohwx woman, " + "紅色的" * 2600
    pieces = mark(caption, WOMAN).pieces
    assert "".join(piece.text for piece in pieces) == caption
    assert pieces[-1].role == ""
    assert len(pieces[-1].text) > 6000


@given(
    st.lists(
        st.sampled_from(
            ["ohwx woman", "long hair", "smiling", ", ", " ", "，", "微笑", "at", "the beach", "\n"]
        )
        | st.text(max_size=8)
    ).map("".join)
)
def test_the_pieces_are_the_caption(caption: str) -> None:
    pieces = mark(caption, WOMAN).pieces
    assert "".join(piece.text for piece in pieces) == caption
    assert all(piece.text for piece in pieces)
