"""Pictures on their way in: every kind, sound and broken, and what is said of each."""

import errno
import os
import struct
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image
from tests.zips import Entry, encoded, fill_folder, png, write_zip

from loraloom.dataset import checking, intake
from loraloom.dataset.checking import Checkers, check_here
from loraloom.dataset.intake import Intake
from loraloom.dataset.source import list_folder
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import ConfigInvalid, DiskFull, FolderMissing, ImageUnreadable, IntakeRefused
from loraloom.findings import Severity
from loraloom.settings import IntakeLimits, intake_limits

RED = Image.new("RGB", (40, 30), "red")


@pytest.fixture
def cups(tmp_path: Path) -> StoredDataset:
    return Store(tmp_path / "store").place("cups")


def huge_png(width_px: int, height_px: int) -> bytes:
    """A header that promises many pixels."""
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(RED, "JPEG", exif=exif)


def cut(kind: str) -> bytes:
    data = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), kind)
    return data[: len(data) // 2]


def flawed_png() -> bytes:
    data = bytearray(png(1))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    return bytes(data)


FRAMES = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
BROKEN = {
    "empty.png": (b"", "not_an_image"),
    "text.png": (b"just text", "not_an_image"),
    "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
    "eps.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not_an_image"),
    "pdf.png": (b"%PDF-1.7\n", "not_an_image"),
    "cut.jpg": (cut("JPEG"), "image_broken"),
    "cut.png": (cut("PNG"), "image_broken"),
    "cut.webp": (cut("WEBP"), "image_broken"),
    "cut.heic": (cut("HEIF"), "image_broken"),
    "cut.avif": (cut("AVIF"), "image_broken"),
    "flawed.png": (flawed_png(), "image_broken"),
    "large.png": (huge_png(12_000, 12_000), "image_too_large"),
    "giant.png": (huge_png(60_000, 60_000), "image_too_large"),
    "wide.png": (huge_png(2**31 - 1, 1000), "image_too_large"),
    "float.tif": (encoded(Image.new("F", (20, 20), 0.5), "TIFF"), "unsupported_format"),
    "vector.svg": (b"<svg/>", "unsupported_format"),
    "print.eps": (b"%!PS", "unsupported_format"),
    "paper.pdf": (b"%PDF", "unsupported_format"),
    "film.mp4": (b"#EXTM3U\nhttp://127.0.0.1/x", "not_a_clip"),
    "film.avi": (b"RIFF", "unsupported_format"),
}


def test_broken_pictures_are_all_named_with_code(cups: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {name: data for name, (data, _) in BROKEN.items()})
    (root / "good.png").write_bytes(png(1))
    with pytest.raises(IntakeRefused) as caught:
        intake.import_into(cups, [root])
    told = zip(caught.value.problems, caught.value.codes, strict=True)
    found = {line.split(":")[0]: code for line, code in told}
    assert found == {name: code for name, (_, code) in BROKEN.items()}
    assert not cups.root.exists()
    assert [p.name for p in intake.import_into(cups, [root], skip_broken=True).pictures] == [
        "good.png"
    ]


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("AVIF", "avif"), ("HEIF", "heic"),
     ("HEIF", "heif"), ("BMP", "bmp"), ("TIFF", "tiff"), ("GIF", "gif")],
)  # fmt: skip
def test_kinds(kind: str, suffix: str, cups: StoredDataset, tmp_path: Path) -> None:
    data = encoded(RED, kind)
    root = fill_folder(tmp_path / "p", {f"a.{suffix}": data, "a.txt": "x"})
    (picture,) = intake.import_into(cups, [root]).pictures
    assert (picture.kind, picture.width_px, picture.height_px) == (kind, 40, 30)
    assert cups.objects.path(picture.sha256).read_bytes() == data


@pytest.mark.parametrize(
    ("name", "data", "code", "word"),
    [
        ("a.gif", encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "animation",
         "3 pictures; only the first"),
        ("a.webp", encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]),
         "animation", "first"),
        ("a.png", encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "animation",
         "first"),
        ("a.tif", encoded(Image.new("CMYK", (20, 20)), "TIFF"), "cmyk", "a guess"),
        ("a.png", encoded(RED, icc_profile=b"no profile"), "profile_broken", "ignored"),
        ("a.png", png(1, 1, 1), "image_too_small", "short side"),
        ("a.png", png(1, 8000, 17), "image_too_long", "8:1"),
    ],
)  # fmt: skip
def test_reservations(
    name: str, data: bytes, code: str, word: str, cups: StoredDataset, tmp_path: Path
) -> None:
    root = fill_folder(tmp_path / "p", {name: data, "a.txt": "x", "b.png": png(9), "b.txt": "x"})
    found = intake.import_into(cups, [root])
    (finding,) = found.findings
    assert (finding.code, finding.severity, finding.item) == (code, Severity.WARNING, name)
    assert word in finding.message
    excluded = code.startswith("image_too")
    assert [p.name for p in found.pictures] == (["b.png"] if excluded else [name, "b.png"])


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 30)), (6, (30, 40)), (99, (40, 30))])
def test_sizes_are_upright(
    orientation: int, size: tuple[int, int], cups: StoredDataset, tmp_path: Path
) -> None:
    root = fill_folder(tmp_path / "p", {"a.jpg": turned(orientation)})
    (picture,) = intake.import_into(cups, [root]).pictures
    assert (picture.width_px, picture.height_px) == size


def test_doubles_are_merged_and_overlap_of_concepts_is_told(
    cups: StoredDataset, tmp_path: Path
) -> None:
    root = fill_folder(
        tmp_path / "p",
        {"a/1.png": png(1), "a/1.txt": "x", "a/2.png": png(1), "a/2.txt": "x", "a/3.png": png(1),
         "a/3.txt": "y", "b/4.png": png(1), "b/4.txt": "x", "b/5.png": png(2), "b/5.txt": "z"},
    )  # fmt: skip
    found = intake.import_into(cups, [root])
    assert [p.name for p in found.pictures] == ["a/1.png", "b/5.png"]
    assert [(f.code, f.severity.value) for f in found.findings] == [
        ("duplicate", "hint"), ("duplicate", "warning"), ("concept_overlap", "warning")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "captions"),
    [("keep", ["x", ""]), ("trigger", ["x", "ohwx"]), ("skip", ["x"])],
)
def test_pictures_without_caption(
    choice: intake.Uncaptioned, captions: list[str], cups: StoredDataset, tmp_path: Path
) -> None:
    text = '[[concepts]]\nfolder = "."\nname = "main"\ntrigger = "ohwx"\n'
    root = fill_folder(
        tmp_path / "p",
        {"concepts.toml": text, "a.png": png(1), "a.txt": "x", "b.png": png(2), "b.txt": ""},
    )
    found = intake.import_into(cups, [root], uncaptioned=choice)
    assert [p.caption for p in found.pictures] == captions
    assert [(f.code, f.item) for f in found.findings] == [("no_caption", "b.png")]


def test_damaged_pictures_are_mended_by_importing_again(
    cups: StoredDataset, tmp_path: Path
) -> None:
    root = fill_folder(tmp_path / "p", {"a.png": png(1), "a.txt": "x"})
    (picture,) = intake.import_into(cups, [root]).pictures
    cups.objects.path(picture.sha256).write_bytes(b"rotten")
    assert intake.import_into(cups, [root]).known == 1
    cups.objects.verify(picture.sha256, "a.png")


def test_a_full_disk_leaves_nothing(
    cups: StoredDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    root = fill_folder(tmp_path / "p", {"a.png": png(1)})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        intake.import_into(cups, [root])
    assert not cups.root.exists()


def test_refusing_pictures_without_caption(cups: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {"a.png": png(1)})
    with pytest.raises(IntakeRefused, match="has no caption; write one"):
        intake.import_into(cups, [root], uncaptioned="refuse")


def test_several_sources(cups: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {"a.png": png(1), "a.txt": "one", "sub/b.png": png(2)})
    archive = write_zip(tmp_path / "z.zip", Entry("c.png", png(3)), Entry("c.txt", b"three"))
    found = intake.import_into(cups, [root / "a.png", root / "a.txt", root / "sub", archive])
    assert {(p.name, p.caption, p.concept) for p in found.pictures} == {
        ("a.png", "one", "main"), ("sub/b.png", "", "sub"), ("z/c.png", "three", "z")
    }  # fmt: skip


def test_sources_that_are_not_there(cups: StoredDataset, tmp_path: Path) -> None:
    with pytest.raises(FolderMissing, match="does not exist"):
        intake.import_into(cups, [tmp_path / "nowhere"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(IntakeRefused) as caught:
        intake.import_into(cups, [empty])
    assert caught.value.codes == ["empty_dataset"]


def test_folders_have_limits_too(tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {f"{n}.png": b"" for n in range(9)})
    assert [f.code for f in list_folder(root, IntakeLimits(files=5)).findings] == ["too_many_files"]


def test_limits_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert intake_limits().files == 20_000
    monkeypatch.setenv("LORALOOM_MAX_FILES", "7")
    monkeypatch.setenv("LORALOOM_MAX_IMPORT_GIB", "2")
    assert (intake_limits().files, intake_limits().total_bytes) == (7, 2**31)
    monkeypatch.setenv("LORALOOM_MAX_FILES", "many")
    with pytest.raises(ConfigInvalid, match="LORALOOM_MAX_FILES = 'many'"):
        intake_limits()


def test_links_in_a_folder(cups: StoredDataset, tmp_path: Path) -> None:
    """Linked files are read, as people keep sets so; linked folders, which may circle, are not."""
    root = fill_folder(tmp_path / "p", {"a.png": png(1)})
    other = fill_folder(tmp_path / "q", {"b.png": png(2)})
    (root / "link.png").symlink_to(other / "b.png")
    (root / "circle").symlink_to(root)
    (root / "dangling.png").symlink_to(tmp_path / "nowhere")
    assert {p.name for p in intake.import_into(cups, [root]).pictures} == {"a.png", "link.png"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_that_cannot_be_read(cups: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {"a.png": png(1)})
    (root / "a.png").chmod(0)
    with pytest.raises(IntakeRefused, match="cannot be read"):
        intake.import_into(cups, [root])


class TestChildren:
    def test_say_the_same_as_this_process(self, tmp_path: Path) -> None:
        root = fill_folder(tmp_path, {name: data for name, (data, _) in BROKEN.items()})
        (root / "good.gif").write_bytes(
            encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:])
        )
        with Checkers(2) as check:
            for path in sorted(root.iterdir()):
                assert said(check, path) == said(check_here, path)

    @pytest.mark.skipif(sys.platform == "win32", reason="no limit there")
    def test_memory_is_limited_and_the_next_picture_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "sitecustomize.py").write_text(
            "import loraloom.dataset.checking as c, loraloom.dataset.images as i\n"
            "def inspect(data, name, real=i.inspect):\n"
            "    if b'eat' in data: bytearray(2**33)\n"
            "    if b'hang' in data: import time; time.sleep(99)\n"
            "    return real(data, name)\n"
            "i.inspect = inspect\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(checking, "CHILD_SECONDS", 8.0)
        for name, tail in (("eat.png", b"eat"), ("hang.png", b"hang"), ("good.png", b"")):
            (tmp_path / name).write_bytes(png(1) + tail)
        with Checkers(1) as check:
            for name in ("eat.png", "hang.png"):
                with pytest.raises(ImageUnreadable, match=f"{name}: could not be decoded"):
                    check(tmp_path / name, name)
            assert check(tmp_path / "good.png", "good.png").kind == "PNG"

    def test_import_through_children(self, cups: StoredDataset, tmp_path: Path) -> None:
        root = fill_folder(tmp_path / "p", {f"{n}.png": png(n) for n in range(20)})
        (root / "bad.png").write_bytes(b"x")
        with Checkers(2) as check:
            found = intake.import_into(cups, [root], skip_broken=True, check=check)
        assert len(found.pictures) == 20
        assert found.pictures == sorted(found.pictures, key=lambda p: p.name)


def said(check: checking.Check, path: Path) -> object:
    try:
        return check(path, path.name)
    except ImageUnreadable as error:
        return error.code, str(error)


def test_progress_goes_up_to_the_end(cups: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {f"{n}.png": png(n) for n in range(5)})
    seen: list[tuple[int, int]] = []
    listing = intake.list_source([root], IntakeLimits())
    with (
        cups.changing(),
        intake.examine(cups, listing, progress=lambda a, b: seen.append((a, b))) as found,
    ):
        assert isinstance(found, Intake)
        assert len(found.staged) == 5
    assert seen == [(n, 5) for n in range(6)]
    assert not cups.root.exists(), "looking stores nothing"
