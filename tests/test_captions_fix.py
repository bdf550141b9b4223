"""The fix: what is wrong becomes right, once, and what was assumed is told."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.captions import LEAKS, RIGHT, WRONG, Row, codes, findings

from loraloom.captions import rules
from loraloom.captions.fix import Fixed, fix
from loraloom.captions.lint import Captioned, Check, lint
from loraloom.captions.reading import read
from loraloom.captions.tokens import Counter
from loraloom.kinds import Kind

WOMAN = Check(Kind.CHARACTER, "ohwx woman")
PARTS = sorted({part.strip() for row in RIGHT + WRONG for part in row.text.split(",")})


def mended(text: str | None, check: Check, *, may_assume: bool = True) -> Fixed:
    return fix([Captioned("01.png", text)], check, may_assume=may_assume)[0]


@pytest.mark.parametrize("row", WRONG, ids=lambda row: row.text)
def test_wrong_captions_become_right(row: Row) -> None:
    fixed = mended(row.text, row.check)
    assert findings(fixed.after, row.check) == []
    assert fixed.changes
    assert all(term in fixed.after for term in fixed.assumed)
    assert mended(fixed.after, row.check).after == fixed.after


@pytest.mark.parametrize("row", RIGHT, ids=lambda row: row.text)
def test_right_captions_stay(row: Row) -> None:
    fixed = mended(row.text, row.check)
    assert (fixed.after, fixed.changes, fixed.assumed) == (row.text, (), ())


def test_only_what_was_added_counts_as_assumed() -> None:
    fixed = mended("ohwx woman, smiling", WOMAN)
    neutral = rules.assumptions("en")
    assert fixed.after.startswith("ohwx woman, smiling, ")
    assert set(fixed.assumed) == {
        neutral[name] for name in ("eye_direction", "clothing", "background", "lighting")
    }


def test_the_user_says_what_to_assume() -> None:
    given_terms = {"lighting": "studio lighting", "background": "white background"}
    fixed = fix([Captioned("1", "ohwx woman, smiling")], WOMAN, given_terms)[0]
    assert "studio lighting" in fixed.after and "white background" in fixed.after
    assert "natural lighting" not in fixed.after


def test_nothing_is_assumed_against_the_users_will() -> None:
    fixed = mended("ohwx woman, asian, smile", WOMAN, may_assume=False)
    assert (fixed.after, fixed.assumed) == ("ohwx woman, smiling", ())
    assert codes(fixed.after, WOMAN) == {"too-brief", "incomplete"}


@pytest.mark.parametrize("kind", Kind)
def test_a_missing_caption_is_filled_with_assumptions(kind: Kind) -> None:
    check = Check(kind, "qzvx")
    fixed = mended(None, check)
    assert fixed.assumed
    assert findings(fixed.after, check) == []
    assert mended(None, check, may_assume=False).after == ""


def test_too_long_keeps_what_is_standard() -> None:
    text = (
        "ohwx woman, standing in a beautiful park on a sunny afternoon with golden sunlight "
        "streaming through the trees, wearing a crisp white cotton t-shirt..."
    )
    fixed = mended(text, WOMAN)
    assert {"standing", "white cotton t-shirt", "park"} <= set(fixed.after.split(", "))


@pytest.mark.parametrize(
    ("text", "after"),
    [("ohwx woman with brown hair and a red hat, {0}", "ohwx woman with a red hat, {0}"),
     ("ohwx woman with a red hat and brown hair, {0}", "ohwx woman with a red hat, {0}"),
     ("an asian ohwx woman, {0}", "ohwx woman, {0}"),
     ("ohwx woman, (brown hair:1.2), {0}", "ohwx woman, {0}"),
     ("ohwx woman, her eyes are green, {0}", "ohwx woman, {0}")],
)  # fmt: skip
def test_sentences_still_read_without_the_leak(text: str, after: str) -> None:
    rest = "smiling, looking at viewer, hoodie, park, natural lighting"
    assert mended(text.format(rest), WOMAN).after == after.format(rest)


def test_one_form_for_the_whole_set() -> None:
    first = "ohwx woman, laughing, looking away, hoodie, gray background, soft lighting"
    second = "ohwx woman, laughing, looking away, coat, grey background, soft light"
    fixed = fix([Captioned("1", first), Captioned("2", second)], WOMAN)
    assert fixed[1].after == second.replace("grey", "gray").replace("soft light", "soft lighting")
    assert lint([Captioned(f.item, f.after) for f in fixed], WOMAN) == []


captions = st.lists(st.sampled_from(PARTS), max_size=8).map(", ".join)
checks = st.builds(Check, st.sampled_from(Kind), st.sampled_from(["ohwx woman", "mystyle", ""]))


@settings(max_examples=60, deadline=None)
@given(captions, checks)
def test_fixing_twice_changes_nothing_and_leaves_no_leak(text: str, check: Check) -> None:
    fixed = mended(text, check)
    assert not codes(fixed.after, check) & (LEAKS | {"incomplete", "too-brief", "trigger-missing"})
    assert mended(fixed.after, check).after == fixed.after


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=120), checks)
def test_any_text_is_read_without_a_crash(text: str, check: Check) -> None:
    findings(text, check)
    fixed = mended(text, check)
    assert isinstance(fixed.after, str)
    read(text, check.trigger)


@pytest.mark.parametrize(
    ("text", "after"),
    [("ohwx woman, mole under her left eye, {0}", "ohwx woman, {0}"),
     ("woman ohwx, {0}", "ohwx woman, {0}"),
     ("a woman, {0}", "ohwx woman, {0}"),
     ("ohwx woman, broad shoulders, {0}", "ohwx woman, {0}")],
)  # fmt: skip
def test_nothing_of_what_was_wrong_is_left_behind(text: str, after: str) -> None:
    rest = "smiling, looking at viewer, hoodie, park, natural lighting"
    assert mended(text.format(rest), WOMAN).after == after.format(rest)


def test_a_concept_goes_with_what_leads_to_it() -> None:
    check = Check(Kind.CONCEPT, "hrtz", "heart hands pose")
    text = "hrtz, a girl making a heart with her hands, classroom"
    assert mended(text, check).after == "hrtz, a girl, classroom"
    assert mended("hrtz, heart hands, a boy at a concert", check).after == (
        "hrtz, a boy at a concert"
    )


def test_a_caption_is_cut_to_what_the_base_reads() -> None:
    class Words:
        """Counts a word as a token."""

        vocab_size = 10

        def __call__(self, text: str, **options: bool) -> object:
            offsets = [match.span() for match in re.finditer(r"\S+", text)]
            return _Encoded(input_ids=list(range(len(offsets))), offset_mapping=offsets)

    text = "ohwx woman, sitting, smiling, looking at viewer, red hoodie, beach, golden hour"
    for limit in (11, 10):
        counter = Counter(Words(), limit, chunked=False)
        fixed = fix([Captioned("1", text)], WOMAN, counter=counter)[0]
        assert counter.count(fixed.after).cut_at is None
        assert fixed.after.startswith("ohwx woman, smiling, looking at viewer")
    assert fix([Captioned("1", text)], WOMAN, counter=Counter(Words(), 11, True))[0].after == text


class _Encoded(dict[str, object]):
    def __init__(self, **found: object) -> None:
        super().__init__(found)
        self.input_ids = found["input_ids"]
