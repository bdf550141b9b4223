"""Bulk edits: what they change, what they leave, and that every one can be taken back."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraloom.captions import journal
from loraloom.captions.edit import Edit, edit, edit_caption, save, tags
from loraloom.captions.folder import read_captions
from loraloom.captions.lint import Captioned
from loraloom.errors import (
    CaptionsChanged,
    DatasetProblems,
    FolderEmpty,
    FolderMissing,
    NothingToUndo,
)

TEXT = "ohwx woman, front view, Smile, red_dress"


def captions_of(root: Path) -> list[Captioned]:
    return [file.captioned for file in read_captions(root)]


def folder_with(root: Path, *captions: str | bytes | None) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for number, caption in enumerate(captions, start=1):
        (root / f"{number:02d}.png").write_bytes(b"")
        if caption is not None:
            data = caption if isinstance(caption, bytes) else caption.encode()
            (root / f"{number:02d}.txt").write_bytes(data)
    return root


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (Edit(replace=(("smile", "laughing"),)), "ohwx woman, front view, laughing, red_dress"),
        (Edit(replace=(("mil", "x"),)), TEXT),
        (Edit(rename=(("red dress", "blue dress"),)), "ohwx woman, front view, Smile, blue dress"),
        (Edit(rename=(("dress", "coat"),)), TEXT),
        (Edit(remove=("front view",)), "ohwx woman, Smile, red_dress"),
        (Edit(remove=("ohwx woman",)), "front view, Smile, red_dress"),
        (Edit(remove=("red dress",)), "ohwx woman, front view, Smile"),
        (Edit(add=("beach",)), f"{TEXT}, beach"),
        (Edit(add=("smile",)), TEXT),
        (Edit(first=("smile",)), "Smile, ohwx woman, front view, red_dress"),
        (Edit(first=("smile",), trigger="ohwx woman"), "ohwx woman, Smile, front view, red_dress"),
        (Edit(first=("red dress", "smile")), "red_dress, Smile, ohwx woman, front view"),
        (Edit(first=("beach",)), TEXT),
    ],
)
def test_one_caption(change: Edit, after: str) -> None:
    assert edit_caption(TEXT, change) == after


def test_chinese_captions_keep_their_commas() -> None:
    text = "ohwx 女子，微笑，海灘"
    assert edit_caption(text, Edit(remove=("微笑",), add=("自然光",))) == "ohwx 女子，海灘，自然光"
    assert edit_caption(text, Edit(replace=(("海灘", "花園"),))) == "ohwx 女子，微笑，花園"


def test_only_the_selection_changes(tmp_path: Path) -> None:
    files = captions_of(folder_with(tmp_path / "set", "a, beach", "b, park"))
    assert [e.item for e in edit(files, Edit(add=("sun",), match="BEACH"))] == ["01.png"]
    assert [e.item for e in edit(files, Edit(add=("sun",), match="02.png"))] == ["02.png"]


def test_undo_brings_back_the_same_bytes_one_change_at_a_time(tmp_path: Path) -> None:
    kept = (b"\xef\xbb\xbfa,  b\r\n", "ü, b".encode("cp1252"), None)
    root = folder_with(tmp_path / "set", *kept)
    for tag in ("one", "two"):
        files = read_captions(root)
        after = {e.item: e.after for e in edit(captions_of(root), Edit(add=(tag,)))}
        assert save(root, files, after, f"add {tag}") == 2
    save(root, read_captions(root), {"03.png": "new"}, "write")
    assert [p.name for p in root.iterdir() if p.suffix not in (".png", ".txt")] == []
    assert journal.undo(root) == ("write", 1)
    assert not (root / "03.txt").exists()
    assert journal.undo(root) == ("add two", 2)
    assert (root / "01.txt").read_bytes() == b"a, b, one\n"
    journal.undo(root)
    assert [(root / f"0{n}.txt").read_bytes() for n in (1, 2)] == list(kept[:2])
    with pytest.raises(NothingToUndo, match="none to undo"):
        journal.undo(root)


def test_undo_refuses_to_lose_later_work(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "set", "a", "b")
    save(root, read_captions(root), {"01.png": "a, x", "02.png": "b, x"}, "edit")
    (root / "02.txt").write_text("by hand")
    with pytest.raises(CaptionsChanged, match=r"02\.txt was changed"):
        journal.undo(root)
    assert (root / "01.txt").read_text() == "a, x\n"


def test_undo_after_a_crash_in_the_middle(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "set", "a", "b")
    save(root, read_captions(root), {"01.png": "a, x", "02.png": "b, x"}, "edit")
    (root / "02.txt").write_text("b")  # as if the process had ended before this file
    journal.undo(root)
    assert [(root / f"0{n}.txt").read_text() for n in (1, 2)] == ["a", "b"]


def test_nothing_written_where_nothing_changes(tmp_path: Path) -> None:
    root = folder_with(tmp_path / "set", "a\n")
    assert save(root, read_captions(root), {"01.png": "a"}, "edit") == 0
    assert not journal.journal_path(root).exists()


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FolderMissing):
        read_captions(tmp_path / "none")
    with pytest.raises(FolderEmpty):
        read_captions(tmp_path)
    root = folder_with(tmp_path / "set", b"x" * 9000, "fine", b" \n")
    with pytest.raises(DatasetProblems, match=r"01\.txt") as caught:
        read_captions(root)
    assert len(caught.value.problems) == 1


def test_captions_without_pictures_are_read_where_there_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.caption").write_text("two")
    found = [(file.name, file.caption) for file in read_captions(tmp_path)]
    assert found == [("a.txt", "one"), ("b.caption", "two")]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.text(alphabet="ab ,_，、.微笑(:1.2)\n", min_size=1, max_size=30), min_size=1,
             max_size=4),
    st.sampled_from([Edit(add=("new",)), Edit(remove=("a",)), Edit(first=("b",)),
                     Edit(replace=(("a", "b"),)), Edit(rename=(("ab", "ba"),))]),
)  # fmt: skip
def test_edit_then_undo_is_nothing(tmp_path: Path, captions: list[str], change: Edit) -> None:
    root = folder_with(tmp_path / "set", *captions)
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    files = read_captions(root)
    after = {e.item: e.after for e in edit(captions_of(root), change)}
    if save(root, files, after, "edit"):
        journal.undo(root)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


@given(st.lists(st.sampled_from(["a", "b c", "微笑", "d_e"]), unique=True, min_size=1))
def test_moving_and_adding_keep_all_tags(parts: list[str]) -> None:
    text = ", ".join(parts)
    assert sorted(tags(edit_caption(text, Edit(first=(parts[-1],))))) == sorted(parts)
    assert tags(edit_caption(text, Edit(add=(parts[0],)))) == parts
