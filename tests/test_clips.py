"""Clips on their way in: every kind, sound and broken, and what is said of each."""

import http.server
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from tests import clips as make
from tests.test_intake import FRAMES
from tests.zips import Entry, encoded, fill_folder, png, write_zip

from loraloom.dataset import clips, intake, reference
from loraloom.dataset.checking import Checkers
from loraloom.dataset.clips import inspect, open_clip, upright_rgb
from loraloom.dataset.exports import export
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetProblems, ImageUnreadable, IntakeRefused


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredDataset:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    return Store().place("cups")


def first_frame(path: Path) -> np.ndarray:
    with open_clip(path, path.name) as clip:
        return upright_rgb(clip, next(clip.frames())[1])


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264")],
)
def test_kinds(name: str, codec: str, tmp_path: Path) -> None:
    found = inspect(make.write_clip(tmp_path / name, 24, codec=codec), name)
    assert (found.width_px, found.height_px, found.frames, found.fps) == (64, 48, 24, 24)
    assert found.kind == name[2:].upper()
    assert found.duration_s == pytest.approx(1, abs=0.01)
    assert found.notes == ()


def test_the_content_says_what_it_is(tmp_path: Path) -> None:
    path = make.write_clip(tmp_path / "a.mkv").rename(tmp_path / "a.mp4")
    assert inspect(path, "a.mp4").kind == "MKV"


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (-90, (-1, 0)), (180, (-1, -1))])
def test_rotated(degrees: int, corner: tuple[int, int], tmp_path: Path) -> None:
    """The red corner at the top left of the stored frame is where the turn takes it."""
    frame = make.plain(make.BLUE, 64, 48)
    frame[:24, :32] = make.RED
    path = make.write_clip(tmp_path / "a.mp4", [frame] * 3, turned=degrees)
    found = inspect(path, "a.mp4")
    assert (found.width_px, found.height_px) == ((64, 48) if degrees == 180 else (48, 64))
    assert [code for code, _ in found.notes] == ["rotated"]
    rgb = first_frame(path)
    assert rgb.shape == (found.height_px, found.width_px, 3)
    turns = {90: 1, -90: 3, 180: 2}[degrees]
    expected = np.rot90(frame, turns)
    assert np.abs(rgb.astype(int) - expected).mean() < 12


@pytest.mark.parametrize(("size", "matrix"), [((64, 48), "ITU601"), ((1280, 720), "ITU709")])
def test_colours_of_unmarked_clips(size: tuple[int, int], matrix: str, tmp_path: Path) -> None:
    """As players show them: small ones by BT.601, large ones by BT.709."""
    frame = av.VideoFrame.from_ndarray(make.plain(make.RED, *size), format="rgb24")
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        yuv = frame.reformat(format="yuv420p", dst_colorspace=matrix)
        unmarked = av.VideoFrame.from_ndarray(yuv.to_ndarray(), format="yuv420p")
        container.mux([*stream.encode(unmarked), *stream.encode(None)])
    assert np.abs(first_frame(tmp_path / "a.mp4").mean((0, 1)) - make.RED).max() < 6


def test_ten_bits(tmp_path: Path) -> None:
    path = make.write_clip(tmp_path / "a.mp4", pixels="yuv420p10le", codec="libx265",
                           options={"x265-params": "log-level=none"})  # fmt: skip
    assert [code for code, _ in inspect(path, "a.mp4").notes] == ["deep_colour"]
    assert np.abs(first_frame(path).mean((0, 1)) - make.RED).max() < 6


def test_variable_rate(tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.2, 0.24, 0.5]
    path = make.write_clip(tmp_path / "a.mkv", 6, times=times)
    found = inspect(path, "a.mkv")
    ((code, sentence),) = found.notes
    assert code == "variable_rate"
    assert "40 to 260 ms apart" in sentence
    assert found.fps == pytest.approx(5 / 0.5, abs=0.05)


def test_wide_pixels(tmp_path: Path) -> None:
    def stretch(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = 2

    path = make.write_clip(tmp_path / "a.mp4", 3, set_up=stretch)
    assert (inspect(path, "a.mp4").width_px, first_frame(path).shape) == (128, (48, 128, 3))


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    frame = np.zeros((48, 64, 4), np.uint8)
    frame[..., 0] = 255  # a hidden red
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgba")))
        container.mux(stream.encode(None))
    assert first_frame(tmp_path / "a.mov").min() == 255


def short_size_change(path: Path) -> None:
    """Two MPEG streams of different sizes, one after the other."""
    parts = []
    for size in ((64, 48), (96, 48)):
        make.write_clip(path.with_suffix(".h264"), 4, size=size)
        parts.append(path.with_suffix(".h264").read_bytes())
    path.with_suffix(".h264").write_bytes(b"".join(parts))
    with av.open(str(path.with_suffix(".h264"))) as raw, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(raw.streams.video[0])
        for number, packet in enumerate(raw.demux(video=0)):
            if packet.size:
                packet.stream, packet.pts, packet.dts = stream, number * 40, number * 40
                out.mux(packet)
    path.with_suffix(".h264").unlink()


def long_clip(path: Path) -> None:
    make.write_clip(path, 2, times=[0, 3 * 3600.0])


BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "hls.mp4": (lambda p: p.write_text(make.HLS.format(target="good.mp4")), "not_a_clip", "kind"),
    "concat.mp4": (lambda p: p.write_text(make.CONCAT.format(target="good.mp4")), "not_a_clip",
                   "MP4, MOV, MKV, WebM, GIF"),
    "dash.mp4": (lambda p: p.write_text(make.DASH), "not_a_clip", "kind"),
    "text.mp4": (lambda p: p.write_text("hello"), "not_a_clip", "kind"),
    "empty.mp4": (lambda p: p.write_bytes(b""), "not_a_clip", "empty"),
    "picture.mp4": (lambda p: p.write_bytes(png(3)), "not_a_clip", "kind"),
    "avi.mp4": (lambda p: make.write_clip(p.with_suffix(".avi"), codec="mpeg4").rename(p),
                "not_a_clip", "kind"),
    "cut.mp4": (lambda p: make.halve(make.write_clip(p)), "clip_broken", "cut off"),
    "front.mp4": (lambda p: make.halve(make.write_clip(p, 90, options={"g": "1"}), 0.4),
                  "clip_broken", "cut off"),
    "cut.mkv": (lambda p: make.halve(make.write_clip(p, 240, options={"g": "1"})), "clip_broken",
                "cut off"),
    "sound.mp4": (lambda p: make.write_sound(p), "no_video", "only sound"),
    "none.mkv": (lambda p: make.write_sound(p, with_pictures=True), "no_frames", "no frame"),
    "one.mp4": (lambda p: make.write_clip(p, 1), "no_frames", "a single frame"),
    "sizes.mkv": (short_size_change, "clip_size_changes", "64 × 48 to 96 × 48"),
    "long.mp4": (long_clip, "clip_too_long", "180 minutes"),
    "thin.mp4": (lambda p: make.write_clip(p, 2, size=(8, 64)), "image_too_small", "short side"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_clips_are_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    make.write_clip(tmp_path / "good.mp4")
    spoil, code, words = BROKEN[name]
    spoil(tmp_path / name)
    with pytest.raises(ImageUnreadable) as caught:
        inspect(tmp_path / name, name)
    assert (caught.value.code, str(caught.value).startswith(f"{name}: ")) == (code, True)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_cover_of_a_song_is_no_clip(tmp_path: Path) -> None:
    make.write_sound(tmp_path / "song.mp4")
    with (
        av.open(str(tmp_path / "song.mp4")) as song,
        av.open(str(tmp_path / "cover.mp4"), "w") as out,
    ):
        sound = out.add_stream_from_template(song.streams.audio[0])
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(make.plain(make.RED, 64, 48), format="rgb24")
        out.mux([*cover.encode(frame), *cover.encode(None)])
        for packet in song.demux(audio=0):
            if packet.size:
                packet.stream = sound
                out.mux(packet)
    with pytest.raises(ImageUnreadable, match="holds only sound"):
        inspect(tmp_path / "cover.mp4", "cover.mp4")


def test_a_playlist_opens_no_other_file_and_no_address(tmp_path: Path) -> None:
    """Shown to open them without the allow list, so that the list is what stops it."""
    asked: list[str] = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    make.write_clip(tmp_path / "good.mp4")
    address = f"http://127.0.0.1:{server.server_port}/x.ts"
    for number, text in enumerate((make.HLS, make.CONCAT)):
        for target in ("good.mp4", address):
            path = tmp_path / f"{number}.mp4"
            path.write_text(text.format(target=target))
            with pytest.raises(ImageUnreadable):
                inspect(path, path.name)
    server.shutdown()
    server.server_close()
    assert asked == []
    (tmp_path / "concat.mp4").write_text(make.CONCAT.format(target="good.mp4"))
    with av.open(str(tmp_path / "concat.mp4")) as opened:
        assert opened.format.name == "concat"


def test_import_keeps_what_clips_are(store: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "set", {"a.png": png(1), "a.txt": "a cup", "b.txt": "a cup falls",
                                          "c.gif": moving_gif(), "c.txt": "turns"})  # fmt: skip
    data = make.write_clip(root / "b.mp4", 30, fps=30).read_bytes()
    with Checkers(2) as check:
        found = intake.import_into(store, [root], check=check)
    by_name = {picture.name: picture for picture in store.working.pictures}
    clip = by_name["b.mp4"]
    assert (clip.caption, clip.kind, clip.frames, clip.fps, clip.duration_s) == (
        "a cup falls", "MP4", 30, 30, 1.0
    )  # fmt: skip
    assert (clip.width_px, clip.height_px, clip.is_clip) == (64, 48, True)
    assert store.objects.path(clip.sha256).read_bytes() == data
    assert not by_name["c.gif"].is_clip
    assert [f.code for f in found.findings] == ["animation"]
    whole = store.snapshot()
    assert store.read_snapshot(whole) == store.working
    with pytest.raises(DatasetProblems, match=r"b\.mp4: is a clip"):
        reference.read("cups")


def moving_gif() -> bytes:
    return encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:], duration=100)


def test_gifs_are_clips_on_demand(store: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "set", {"c.gif": moving_gif(), "c.txt": "turns"})
    intake.import_into(store, [root], moving_gifs=True)
    (clip,) = store.working.pictures
    assert (clip.kind, clip.frames, clip.fps) == ("GIF", 3, 10)
    other = Store(tmp_path / "other").place("cups")
    intake.import_into(other, [root])
    assert other.working.hash != store.working.hash


def test_all_broken_clips_of_a_zip_are_named(store: StoredDataset, tmp_path: Path) -> None:
    good = make.write_clip(tmp_path / "good.mp4").read_bytes()
    make.write_sound(tmp_path / "sound.mp4")
    path = write_zip(
        tmp_path / "x.zip", Entry("good.mp4", good), Entry("cut.mp4", good[:500]),
        Entry("sound.mp4", (tmp_path / "sound.mp4").read_bytes()),
    )  # fmt: skip
    with Checkers(2) as check:
        with pytest.raises(IntakeRefused) as caught:
            intake.import_into(store, [path], check=check)
        assert caught.value.codes == ["clip_broken", "no_video"]
        assert not store.exists
        found = intake.import_into(store, [path], skip_broken=True, check=check)
    assert [p.name for p in found.pictures] == ["good.mp4"]


def test_a_clip_that_takes_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loraloom.dataset import checking

    monkeypatch.setattr(checking, "CLIP_SECONDS", 0.0)
    path = make.write_clip(tmp_path / "a.mp4")
    with Checkers(1) as check, pytest.raises(ImageUnreadable, match=r"a\.mp4: could not be decod"):
        check(path, "a.mp4", "clip")


@pytest.mark.parametrize("to", ["kohya", "ai-toolkit", "diffusers", "zip"])
def test_clips_are_exported_and_read_again(to: str, store: StoredDataset, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "set", {"b.txt": "falls", "c.txt": "x"})
    make.write_clip(root / "b.mp4")
    make.write_clip(root / "c.webm", 5, codec="libvpx-vp9")
    intake.import_into(store, [root])
    warnings = export(store.working, store.objects, to, tmp_path / "out.zip")  # type: ignore[arg-type]
    assert bool(warnings) == (to == "kohya")
    again = Store(tmp_path / "again").place("cups")
    intake.import_into(again, [tmp_path / "out.zip"])
    if to in ("zip", "diffusers"):  # the others name concepts by their folders
        assert again.working.hash == store.working.hash
    assert sorted(p.kind for p in again.working.pictures) == ["MP4", "WEBM"]


def test_limits_hold_while_frames_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the header promises little."""
    path = make.write_clip(tmp_path / "a.mkv", 30)
    monkeypatch.setattr(clips, "MOST_FRAMES", 20)
    with pytest.raises(ImageUnreadable, match="lasts more than 10 minutes"):
        inspect(path, "a.mkv")
