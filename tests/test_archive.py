"""Hostile and broken ZIP files: each is refused with its code, and nothing is stored."""

import io
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.zips import FIFO, LINK, Entry, png, write_zip, zip_bytes

from loraloom.dataset import intake
from loraloom.dataset.archive import list_archive
from loraloom.dataset.intake import Intake
from loraloom.dataset.source import SourceDamage
from loraloom.dataset.store import Store
from loraloom.errors import IntakeRefused, LoraloomError
from loraloom.findings import Severity
from loraloom.settings import IntakeLimits

SMALL = IntakeLimits(ratio_from_bytes=10_000, total_bytes=2**21, file_bytes=2**20)


def take(path: Path, *, skip_broken: bool = False, limits: IntakeLimits | None = None) -> Intake:
    """Import into a store beside the archive."""
    dataset = Store(path.parent / "store").place("cups")
    return intake.import_into(dataset, [path], skip_broken=skip_broken, limits=limits)


def codes_of(path: Path, limits: IntakeLimits | None = None) -> list[str]:
    """Why an archive is refused; that nothing of it is left; each reason one sentence."""
    with pytest.raises(IntakeRefused) as caught:
        take(path, limits=limits)
    stored = path.parent / "store"
    assert [p for p in stored.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    assert not (stored / "cups").exists()
    for problem in caught.value.problems:
        assert "\n" not in problem
        assert problem.isprintable()
    return caught.value.codes


GOOD = (Entry("a.png", png(1), method=0), Entry("a.txt", b"a cup"))
BIG = b"\0" * 400_000
HOSTILE = {
    "bomb by ratio": ([*GOOD, Entry("bomb.png", BIG)], "zip_too_big"),
    "too large an entry": ([*GOOD, Entry("big.png", bytes(2**20 + 1), method=0)], "zip_too_big"),
    "overlap": ([*GOOD, Entry("b.png", png(1), method=0, offset=0, local_name=b"")], None),
    "parent folder": ([*GOOD, Entry("../evil.png", png(2))], "zip_path"),
    "absolute": ([*GOOD, Entry("/etc/evil.png", png(2))], "zip_path"),
    "drive": ([*GOOD, Entry("C:\\evil.png", png(2))], "zip_path"),
    "backslashes": ([*GOOD, Entry("a\\..\\..\\b.png", png(2))], "zip_path"),
    "symbolic link": ([*GOOD, Entry("link.png", b"/etc/passwd", attributes=LINK)], "zip_link"),
    "device": ([*GOOD, Entry("pipe.png", b"", attributes=FIFO)], "zip_link"),
    "reparse point": ([*GOOD, Entry("link.png", b"x", attributes=0x400)], "zip_link"),
    "encrypted": ([*GOOD, Entry("b.png", png(2), flags=1)], "zip_encrypted"),
    "Deflate64": ([*GOOD, Entry("b.png", png(2), method=9, packed=b"xx")], "zip_method"),
    "zstd": ([*GOOD, Entry("b.png", png(2), method=93, packed=b"xx")], "zip_method"),
    "wrong checksum": ([*GOOD, Entry("b.png", png(2), crc=1)], "zip_crc"),
    "declares too little": ([*GOOD, Entry("b.png", png(2), size=10)], "zip_crc"),
    "declares 4 GiB": ([*GOOD, Entry("b.png", png(2), size=0xFFFFFFFE)], "zip_size"),
    "cut off inside": ([*GOOD, Entry("b.png", png(2), packed=b"\x4b")], "zip_crc"),
    "not Deflate": ([*GOOD, Entry("b.png", png(2), packed=b"\xff" * 40)], "zip_crc"),
    "two names": ([*GOOD, Entry("b.png", png(2), local_name=b"c.png")], "zip_broken"),
    "same name": ([*GOOD, Entry("a.png", png(2))], "name_clash"),
    "capitals": ([*GOOD, Entry("A.PNG", png(2))], "name_clash"),
    "accents": ([Entry("é.png", png(2)), Entry("e\u0301.png", png(3))], "name_clash"),
    "only text": ([Entry("a.txt", b"a cup")], "empty_dataset"),
    "empty": ([], "empty_dataset"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused(case: str, tmp_path: Path) -> None:
    entries, code = HOSTILE[case]
    found = codes_of(write_zip(tmp_path / "x.zip", *entries), SMALL)
    assert found == [code or "zip_overlap"]


def test_entries_that_share_bytes(tmp_path: Path) -> None:
    """Fifield's trick: one kernel of packed bytes, many entries that unpack it."""
    entry = Entry("a.png", BIG, local_name=b"a.png")
    quoted = [Entry(b"a.png", BIG, offset=0) for _ in range(20)]
    assert codes_of(write_zip(tmp_path / "x.zip", entry, *quoted)) == ["zip_overlap"]


def test_entry_over_the_directory(tmp_path: Path) -> None:
    data = bytearray(zip_bytes(Entry("a.png", png(1), method=0)))
    at = data.index(b"PK\1\2") + 20
    data[at : at + 4] = (len(png(1)) + 8).to_bytes(4, "little")
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    assert codes_of(path) == ["zip_overlap"]


def test_total_of_an_archive_is_limited(tmp_path: Path) -> None:
    entries = [Entry(f"{n}.png", bytes([n]) * 2**20, method=0) for n in range(4)]
    found = codes_of(write_zip(tmp_path / "x.zip", *entries), SMALL)
    assert found[-1] == "empty_dataset"
    assert "zip_too_big" in found


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "is empty"),
        (b"hello", "is not a ZIP"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(99), "RAR"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "7z"),
        (b"\x1f\x8b\x08" + bytes(99), "gzip"),
        (zip_bytes(*GOOD)[:-30], "cut off"),
        (zip_bytes(*GOOD)[30:], "not a ZIP"),
        (zip_bytes(*GOOD).replace(b"PK\1\2", b"PK\1\1"), "broken"),
    ],
)
def test_no_zip_at_all(data: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(IntakeRefused, match=word):
        take(path)
    assert codes_of(path) == ["not_a_zip"]


def test_tar_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    with pytest.raises(IntakeRefused, match="tar archive"):
        take(path)


@pytest.mark.parametrize("count", [None, 1])
def test_too_many_files_are_refused_before_reading(count: int | None, tmp_path: Path) -> None:
    entries = [Entry(f"{n}.png", b"", method=0) for n in range(12)]
    path = tmp_path / "x.zip"
    path.write_bytes(zip_bytes(*entries, count=count))  # the count may lie
    assert codes_of(path, IntakeLimits(files=10)) == ["too_many_files"]


def test_all_problems_at_once(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "x.zip",
        *GOOD,
        Entry("locked.png", png(2), flags=1),
        Entry("crc.png", png(3), crc=5),
        Entry("text.png", b"no picture"),
        Entry("film.avi", b"?"),
    )
    expected = {"zip_encrypted", "zip_crc", "not_an_image", "unsupported_format"}
    assert set(codes_of(path)) == expected
    found = take(path, skip_broken=True)
    assert [picture.name for picture in found.pictures] == ["a.png"]


@pytest.mark.parametrize("case", ["parent folder", "symbolic link", "capitals", "bomb by ratio"])
def test_skip_broken_does_not_pass_what_is_hostile(case: str, tmp_path: Path) -> None:
    with pytest.raises(IntakeRefused):
        take(write_zip(tmp_path / "x.zip", *HOSTILE[case][0]), skip_broken=True, limits=SMALL)


def test_left_behind_files_are_counted_and_archives_inside_skipped(tmp_path: Path) -> None:
    junk = ("__MACOSX/._a.png", ".DS_Store", "sub/Thumbs.db", "desktop.ini", "._a.png")
    path = write_zip(
        tmp_path / "x.zip", *GOOD, *(Entry(name, b"?") for name in junk),
        Entry("inner.zip", zip_bytes(*GOOD)), Entry("notes.md", b"?"), Entry("folder/", b""),
    )  # fmt: skip
    found = take(path)
    assert (len(found.pictures), found.junk) == (1, len(junk))
    assert {finding.code for finding in found.findings} == {"unsupported_format", "other_files"}
    assert found.findings[0].item == "inner.zip"


def test_odd_names_are_shown_and_harmless(tmp_path: Path) -> None:
    names: list[str | bytes] = [
        "a\0.exe.png", "new\nline.png", "\u202egnp.png", "x" * 300 + ".png", "con.png", "dot. .png",
        b"caf\x82.png", "日本.png", b"\x93\xfa.png",
    ]  # fmt: skip
    entries = [Entry(name, png(n)) for n, name in enumerate(names)]
    found = take(write_zip(tmp_path / "x.zip", *entries))
    assert len(found.pictures) == len(names)
    shown = [picture.name for picture in found.pictures]
    assert all(name.isprintable() for name in shown)
    assert "café.png" in shown
    assert "日本.png" in shown
    warned = [finding.item for finding in found.findings if finding.code == "odd_name"]
    assert warned == ["a\ufffd.exe.png", "new\ufffdline.png", "\ufffdgnp.png"]


def test_name_behind_nul_decides(tmp_path: Path) -> None:
    """`a.png` + NUL + `.exe` is an .exe."""
    found = take(write_zip(tmp_path / "x.zip", *GOOD, Entry("b.png\0.exe", png(2))))
    assert [picture.name for picture in found.pictures] == ["a.png"]


def test_picture_that_is_an_archive_too(tmp_path: Path) -> None:
    """JPEG + ZIP: by its name it is a picture, or an archive; never both."""
    data = png(1) + zip_bytes(Entry("inner.png", png(2)))
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "a.zip").write_bytes(data)
    for name, expected in (("a.png", "a.png"), ("a.zip", "inner.png")):
        with Store(tmp_path / name[-3:]).place("x").changing():
            pass
        dataset = Store(tmp_path / f"store{name[-3:]}").place("x")
        found = intake.import_into(dataset, [tmp_path / name])
        assert [picture.name for picture in found.pictures] == [expected]


def test_archives_of_other_writers(tmp_path: Path) -> None:
    """What Python writes, with 64-bit fields and a comment, reads the same."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"made by hand"
        with archive.open("ünï/a.png", "w", force_zip64=True) as entry:
            entry.write(png(1))
        archive.writestr("ünï/a.txt", "a cup")
    assert [(p.name, p.caption) for p in take(path).pictures] == [("ünï/a.png", "a cup")]


def _mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    broken = bytearray(data)
    for place, value in changes:
        broken[place % len(broken)] = value
    return bytes(broken)


SOUND = zip_bytes(*GOOD, Entry("b/c.png", png(9)), Entry("metadata.csv", b"file_name,text\n"))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SOUND)), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, len(SOUND)),
)
@example(changes=[], cut=0)
def test_any_bytes_give_files_or_a_sentence(
    changes: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.zip"
    path.write_bytes(_mutated(SOUND, changes)[cut if cut % 3 == 0 else 0 :])
    listing = list_archive(path, SMALL)
    assert all(finding.severity in Severity and finding.message for finding in listing.findings)
    for file in listing.files:
        assert file.name.isprintable()
        try:
            assert len(file.read(2**21)) <= 2**20
        except SourceDamage as damage:
            assert damage.code.startswith(("zip_", "file_"))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.integers(0, len(SOUND)), st.integers(0, 255)), max_size=4))
def test_nothing_is_written_outside(
    changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    path = root / "fuzz.zip"
    path.write_bytes(_mutated(SOUND, changes))
    try:
        take(path, skip_broken=True)
    except LoraloomError as error:
        assert str(error)
    assert {p.name for p in root.iterdir()} <= {"fuzz.zip", "store"}
    for file in (root / "store").rglob("objects/*/*"):
        assert len(file.name) == 64


@pytest.mark.skipif(sys.platform != "linux", reason="measures as Linux counts")
def test_a_large_bomb_takes_little_memory(tmp_path: Path) -> None:
    """256 MiB of zeros in 256 kB: refused with the memory of a small import."""
    deflated = b"".join(_zeros(2**28))
    path = write_zip(tmp_path / "x.zip", Entry("a.png", crc=0, size=2**28, packed=deflated))
    code = (
        "from pathlib import Path; from tests.test_archive import codes_of, held_most_kib\n"
        "before = held_most_kib()\n"
        f"print(*codes_of(Path({str(path)!r})), held_most_kib() - before)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    *codes, grown_kib = run.stdout.split()
    assert "zip_too_big" in codes, run.stderr
    assert int(grown_kib) < 64 * 1024


def held_most_kib() -> int:
    """The most memory that this program has held; getrusage would count its parent's as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _zeros(count: int) -> list[bytes]:
    deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
    pieces = [deflater.compress(bytes(2**20)) for _ in range(count >> 20)]
    return [*pieces, deflater.flush()]
