"""What a dataset holds: its hash, its differences, what names are possible."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraloom.dataset.snapshot import (
    FORMAT,
    Concept,
    Contents,
    Picture,
    alike_pair,
    balanced,
    check_concept,
    check_name,
    diff,
    folder_name,
    from_json,
)
from loraloom.errors import DatasetDamaged, DatasetNameInvalid


def picture(number: int, caption: str = "a cup", concept: str = "main", name: str = "") -> Picture:
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    return Picture(sha256, caption, concept, name or f"{number}.png", 32, 32, "PNG")


PAIR = Contents(
    (picture(1, "one", "a"), picture(2, "two", "b")), (Concept("a", "x", 2), Concept("b"))
)


def test_hash_is_what_the_documentation_says() -> None:
    """SHA-256 of sorted JSON of the content alone, computed here by hand."""
    shas = [hashlib.sha256(str(number).encode()).hexdigest() for number in (1, 2)]
    rows = sorted([[shas[0], "one", "a"], [shas[1], "two", "b"]])
    text = json.dumps({"concepts": [["a", "x", 2], ["b", "", 1]], "pictures": rows})
    assert PAIR.hash == hashlib.sha256(text.encode()).hexdigest()


def test_names_order_and_lineage_do_not_count() -> None:
    other = Contents(
        tuple(replace(p, name="z", generated_by="me") for p in reversed(PAIR.pictures)),
        (*reversed(PAIR.concepts), Concept("unused", "y")),
    )
    assert other.hash == PAIR.hash


@pytest.mark.parametrize(
    "changed",
    [
        replace(PAIR, pictures=(picture(1, "other", "a"), PAIR.pictures[1])),
        replace(PAIR, pictures=(picture(1, "one", "b"), PAIR.pictures[1])),
        replace(PAIR, pictures=PAIR.pictures[:1]),
        replace(PAIR, pictures=(picture(3, "one", "a"), PAIR.pictures[1])),
        replace(PAIR, concepts=(Concept("a", "x", 3), Concept("b"))),
        replace(PAIR, concepts=(Concept("a", "y", 2), Concept("b"))),
    ],
)
def test_content_counts(changed: Contents) -> None:
    assert changed.hash != PAIR.hash
    assert diff(PAIR, changed)
    assert not diff(changed, changed)


def test_difference() -> None:
    new = Contents(
        (picture(1, "uno", "b"), picture(3, "three", "c")), (Concept("b", "t"), Concept("c"))
    )
    found = diff(PAIR, new)
    assert [p.caption for p in found.added] == ["three"]
    assert [p.caption for p in found.removed] == ["two"]
    assert [(a.caption, b.caption) for a, b in found.recaptioned] == [("one", "uno")]
    assert [(a.concept, b.concept) for a, b in found.moved] == [("a", "b")]
    assert found.concepts == (
        (Concept("a", "x", 2), None),
        (Concept("b"), Concept("b", "t")),
        (None, Concept("c")),
    )


def test_json_comes_back_and_is_verified() -> None:
    tree = json.loads(json.dumps(PAIR.to_json()))
    assert from_json(tree, "x") == PAIR
    tree["pictures"][0]["caption"] = "forged"
    with pytest.raises(DatasetDamaged, match="x is damaged"):
        from_json(tree, "x")


def test_pictures_kept_though_alike_come_back_and_do_not_count() -> None:
    first, second = sorted(one.sha256 for one in PAIR.pictures)
    both = replace(PAIR, alike=(alike_pair(second, first),))
    assert both.alike == ((first, second),)
    assert both.hash == PAIR.hash
    assert "alike" not in PAIR.to_json()
    assert from_json(json.loads(json.dumps(both.to_json())), "x") == both


@pytest.mark.parametrize(
    "tree", [{}, {"pictures": 3}, {"pictures": [{}], "concepts": [], "hash": ""}]
)
def test_other_json_is_damage(tree: dict[str, object]) -> None:
    with pytest.raises(DatasetDamaged):
        from_json(tree, "x")


def test_what_a_newer_version_wrote_is_refused() -> None:
    with pytest.raises(DatasetDamaged, match="newer Loraloom"):
        from_json({**PAIR.to_json(), "format": FORMAT + 1}, "x")


def test_concepts_are_balanced_by_repeats() -> None:
    """Fewer pictures are repeated more: 40 : 10 : 13 -> 1 : 4 : 3."""
    counts = {"a": 40, "b": 10, "c": 13}
    pictures = [picture(n, concept=c) for c in counts for n in range(counts[c])]
    found = balanced(Contents(tuple(pictures), (Concept("b", "bb", 9), Concept("empty"))))
    assert found == (
        Concept("b", "bb", 4), Concept("empty"), Concept("a", "", 1), Concept("c", "", 3)
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["", " a", "a.", "..", "a/b", "a\\b", "C:", "a\nb", "con", "LPT1", "a@b", "x" * 65]
)
def test_names_that_no_folder_can_have(name: str) -> None:
    with pytest.raises(DatasetNameInvalid):
        check_name(name, "dataset")


@pytest.mark.parametrize("concept", [Concept("a", "x\ny"), Concept("a", "x" * 201),
                                     Concept("a", repeats=0), Concept("../a")])  # fmt: skip
def test_concepts_refused(concept: Concept) -> None:
    with pytest.raises(DatasetNameInvalid):
        check_concept(concept)


@given(st.text(max_size=300))
def test_any_text_becomes_a_name_that_stays(text: str) -> None:
    name = folder_name(text)
    assert folder_name(name) == name
    assert len(name.encode()) <= 101
    if name:
        assert check_name(name, "dataset") == name
        assert Path("/x", name).resolve().parent == Path("/x")
