"""A folder of pictures and captions: what is read, what is refused, and that all is told."""

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from loraloom.dataset.folder import Dataset, read_folder, with_trigger
from loraloom.errors import DatasetProblems, FolderEmpty, FolderMissing


def picture(
    folder: Path, name: str, caption: str | bytes | None = "a cup", side_px: int = 32
) -> Path:
    path = folder / name
    kind = "JPEG" if name.lower().endswith("jpg") else "PNG"
    Image.new("RGB", (side_px, side_px), (len(name) % 256, 9, 9)).save(path, kind)
    if caption is not None:
        data = caption if isinstance(caption, bytes) else caption.encode()
        path.with_suffix(".txt").write_bytes(data)
    return path


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(DatasetProblems) as caught:
        read_folder(folder)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_reads_sorted_items(tmp_path: Path) -> None:
    second = picture(tmp_path, "b.png", "a red cup")
    picture(tmp_path, "a.JPG", None)
    (tmp_path / "a.caption").write_text("  a blue\n cup ")
    for ignored in (".DS_Store", "._b.png", "Thumbs.db", "notes.md"):
        (tmp_path / ignored).write_bytes(b"?")
    dataset = read_folder(tmp_path)
    assert [(item.path.name, item.caption) for item in dataset.items] == [
        ("a.JPG", "a blue cup"),
        ("b.png", "a red cup"),
    ]
    item = dataset.items[1]
    assert item.sha256 == hashlib.sha256(second.read_bytes()).hexdigest()
    assert (item.width_px, item.height_px) == (32, 32)


def test_hash_is_of_content_not_names(tmp_path: Path) -> None:
    picture(tmp_path, "aa.png", "one")
    picture(tmp_path, "bb.png", "two")
    before = read_folder(tmp_path).hash
    for suffix in (".png", ".txt"):
        (tmp_path / f"aa{suffix}").rename(tmp_path / f"zz{suffix}")
    assert read_folder(tmp_path).hash == before
    (tmp_path / "zz.txt").write_text("other")
    assert read_folder(tmp_path).hash != before


def test_missing_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FolderMissing, match="does not exist"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(FolderMissing, match="is a file"):
        read_folder(picture(tmp_path, "a.png"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FolderEmpty, match="holds no picture"):
        read_folder(empty)


def test_all_problems_at_once(tmp_path: Path) -> None:
    picture(tmp_path, "fine.png")
    picture(tmp_path, "bare.png", None)
    picture(tmp_path, "empty.png", " \n")
    picture(tmp_path, "tiny.png", side_px=8)
    picture(tmp_path, "twin.png")
    picture(tmp_path, "twin.jpg")
    (tmp_path / "broken.png").write_bytes(b"")
    (tmp_path / "lonely.txt").write_text("a cup")
    (tmp_path / "photo.psd").write_bytes(b"?")
    Image.new("RGB", (400, 20)).save(tmp_path / "strip.png")
    (tmp_path / "strip.txt").write_text("a strip")
    expected = [
        ("bare.png", "has no caption"),
        ("broken.png", "has no caption"),
        ("broken.png", "file is empty"),
        ("empty.txt", "caption is empty"),
        ("lonely.txt", "without a picture"),
        ("photo.psd", "not accepted"),
        ("strip.png", "longer than 8:1"),
        ("tiny.png", "8 px on its short side"),
        ("twin.jpg and twin.png", "share one name"),
    ]
    found = problems_of(tmp_path)
    assert len(found) == len(expected)
    for name, reason in expected:
        assert any(line.startswith(f"{name}: ") and reason in line for line in found), name


def test_names_that_differ_only_in_case_or_form_are_twins(tmp_path: Path) -> None:
    picture(tmp_path, "caf\u00e9.png")
    picture(tmp_path, "CAFE\u0301.jpg", None)
    assert "share one name" in problems_of(tmp_path)[0]


def test_only_foreign_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.psd").write_bytes(b"?")
    assert problems_of(tmp_path) == ["a.psd: .psd files are not accepted; convert it to PNG"]


@pytest.mark.parametrize(
    ("data", "caption"),
    [
        ("é".encode(), "é"),
        ("é".encode("utf-8-sig"), "é"),
        ("é 杯".encode("utf-16"), "é 杯"),
        (b"\xfe\xff" + "é".encode("utf-16-be"), "é"),
        (b"caf\xe9", "café"),
        ("cafe\u0301".encode(), "café"),
        (b"a\0 cup\0", "a cup"),
        (b"a \x1b[1;31mcup\x08", "a cup"),
    ],
)
def test_caption_encodings(data: bytes, caption: str, tmp_path: Path) -> None:
    picture(tmp_path, "a.png", data)
    assert read_folder(tmp_path).items[0].caption == caption


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\x81\x8d", "not text"), (b"x" * 8193, "8,193 bytes"), (b"\0\0", "empty")],
)
def test_captions_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    picture(tmp_path, "a.png", data)
    assert reason in problems_of(tmp_path)[0]


def test_guessed_encoding_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path, "a.png", b"caf\xe9")
    read_folder(tmp_path)
    assert "a.txt: not UTF-8" in caplog.text


def dataset_of(tmp_path: Path, *captions: str) -> Dataset:
    for number, caption in enumerate(captions):
        picture(tmp_path, f"{number}.png", caption)
    return read_folder(tmp_path)


def test_trigger_is_put_first(tmp_path: Path) -> None:
    dataset, changed = with_trigger(dataset_of(tmp_path, "a cup", "an ohwxy cup"), "ohwx")
    assert changed == 2
    assert [item.caption for item in dataset.items] == ["ohwx, a cup", "ohwx, an ohwxy cup"]


def test_trigger_already_there(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, "ohwx cup", "a cup, OHWX")
    assert with_trigger(dataset, "ohwx") == (dataset, 0)
    assert with_trigger(dataset, "") == (dataset, 0)


def test_trigger_in_some_captions_only(tmp_path: Path) -> None:
    with pytest.raises(DatasetProblems) as caught:
        with_trigger(dataset_of(tmp_path, "ohwx cup", "a cup"), "ohwx")
    assert [line.split(":")[0] for line in caught.value.problems] == ["1.png"]
