"""Pictures prepared: cut to faces, masked, enlarged by a model, converted, fitted, shown."""

import importlib.util
import io
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from tests.zips import encoded, fill_folder, png

from loraloom.dataset import images, masks
from loraloom.dataset.buckets import choose_bucket, plan_crop
from loraloom.dataset.prepare import preview, subject, upscale
from loraloom.dataset.prepare.plan import Plan
from loraloom.dataset.prepare.run import Prepared, prepare
from loraloom.errors import DatasetProblems, FolderEmpty, UpscalerUnusable


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def hopper() -> Image.Image:
    """The one photograph of a face at hand, 512 × 600."""
    with cbook.get_sample_data("grace_hopper.jpg") as stream:
        return Image.open(io.BytesIO(stream.read())).convert("RGB")


def scene(width_px: int = 200, height_px: int = 160) -> tuple[Image.Image, Image.Image]:
    """A blue disc on noise of brown, and where the disc is."""
    noise = np.random.default_rng(0).integers(0, 60, (height_px, width_px, 3))
    picture = Image.fromarray((noise + np.array((120, 90, 20))).astype(np.uint8))
    where = Image.new("L", picture.size)
    box = (width_px * 0.3, height_px * 0.25, width_px * 0.7, height_px * 0.8)
    ImageDraw.Draw(where).ellipse(box, fill=255)
    picture.paste((20, 60, 220), mask=where)
    return picture, where


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float(((a > 127) & (b > 127)).sum() / ((a > 127) | (b > 127)).sum())


def codes(done: Prepared) -> list[tuple[str, str]]:
    return [(finding.item, finding.code) for finding in done.findings]


class TestFaces:
    def test_cut_to_the_face(self, hopper: Image.Image, tmp_path: Path) -> None:
        wide = Image.new("RGB", (1200, 700), "gray")
        wide.paste(hopper, (650, 60))
        other = png(5, 300, 200)
        root = fill_folder(
            tmp_path / "p", {"a.png": encoded(wide), "a.txt": "ohwx", "b.png": other}
        )
        done = prepare(str(root), tmp_path / "out", Plan(face=True), base="sd15")
        cut = Image.open(tmp_path / "out/a.png")
        face = subject.find_face(cut)
        assert face is not None
        assert cut.width == cut.height == pytest.approx(2.6 * face[2], rel=0.1)
        middle = (face[0] + face[2] / 2) / cut.width, (face[1] + face[3] / 2) / cut.height
        assert middle == pytest.approx((0.5, 0.5), abs=0.05)
        assert (tmp_path / "out/a.txt").read_text() == "ohwx\n"
        assert (tmp_path / "out/b.png").read_bytes() == other
        assert codes(done) == [("b.png", "no_face")]

    def test_margin(self, hopper: Image.Image, tmp_path: Path) -> None:
        root = fill_folder(tmp_path / "p", {"a.png": encoded(hopper)})
        sides = []
        for margin in (0.1, 0.5):
            out = tmp_path / f"out{margin}"
            prepare(str(root), out, Plan(face=True, face_margin=margin))
            sides.append(Image.open(out / "a.png").width)
        assert sides[1] / sides[0] == pytest.approx(2 / 1.2, rel=0.03)


class TestMasks:
    def test_from_transparency(self, tmp_path: Path) -> None:
        picture, where = scene()
        picture.putalpha(where)
        data = encoded(picture)
        root = fill_folder(tmp_path / "p", {"a.png": data, "b.png": png(3)})
        done = prepare(str(root), tmp_path / "out", Plan(masks="alpha"))
        assert (masks.read(tmp_path / "out/masks/a.png", "") == np.asarray(where)).all()
        assert (tmp_path / "out/a.png").read_bytes() == data
        assert not (tmp_path / "out/masks/b.png").exists()
        assert codes(done) == [("b.png", "no_alpha")]

    def test_of_a_turned_picture(self, tmp_path: Path) -> None:
        picture, where = scene()
        picture.putalpha(where)
        exif = Image.Exif()
        exif[0x0112] = 6
        root = fill_folder(tmp_path / "p", {"a.png": encoded(picture, exif=exif)})
        prepare(str(root), tmp_path / "out", Plan(masks="alpha", png=True))
        found = masks.read(tmp_path / "out/masks/a.png", "")
        assert (found == np.rot90(np.asarray(where), -1)).all()
        assert Image.open(tmp_path / "out/a.png").size == (160, 200)

    @pytest.mark.parametrize("size", [(200, 160), (900, 720)])
    def test_grabcut(self, size: tuple[int, int], tmp_path: Path) -> None:
        picture, where = scene(*size)
        flat = Image.new("RGB", size, "gray")
        root = fill_folder(tmp_path / "p", {"a.png": encoded(picture), "b.png": encoded(flat)})
        plan = Plan(masks="grabcut", box=(0.2, 0.15, 0.6, 0.75))
        done = prepare(str(root), tmp_path / "out", plan)
        found = masks.read(tmp_path / "out/masks/a.png", "")
        assert set(np.unique(found)) == {0, 255}
        assert overlap(found, np.asarray(where)) > 0.95
        assert codes(done) == [("b.png", "no_subject")]

    def test_grabcut_by_the_face(self, hopper: Image.Image, tmp_path: Path) -> None:
        root = fill_folder(tmp_path / "p", {"a.png": encoded(hopper), "b.png": png(1, 99, 99)})
        done = prepare(str(root), tmp_path / "out", Plan(masks="grabcut"))
        found = masks.read(tmp_path / "out/masks/a.png", "")
        assert found[200:300, 220:300].mean() > 250, "the face is learnt"
        assert found[:100, 420:].max() == 0, "the sky is not"
        assert codes(done) == [("b.png", "no_mask")]

    def test_from_a_folder(self, tmp_path: Path) -> None:
        picture, where = scene()
        root = fill_folder(tmp_path / "p", {"a.jpg": encoded(picture, "JPEG"), "b.png": png(1)})
        folder = fill_folder(tmp_path / "m", {"A.png": encoded(where)})
        done = prepare(str(root), tmp_path / "out", Plan(masks="folder", mask_folder=folder))
        assert (masks.read(tmp_path / "out/masks/a.png", "") == np.asarray(where)).all()
        assert codes(done) == [("b.png", "no_mask")]
        (folder / "b.png").write_bytes(png(255, 5, 5))
        with pytest.raises(DatasetProblems, match=r"the mask of b\.png: is 5 × 5 px, its picture"):
            prepare(str(root), tmp_path / "x", Plan(masks="folder", mask_folder=folder))
        assert not (tmp_path / "x").exists()
        empty = fill_folder(tmp_path / "e", {"z.png": png(1)})
        with pytest.raises(FolderEmpty, match="holds no mask"):
            prepare(str(root), tmp_path / "x", Plan(masks="folder", mask_folder=empty))

    def test_a_folder_of_masks_in_the_source_is_no_concept(self, tmp_path: Path) -> None:
        picture, where = scene()
        root = fill_folder(tmp_path / "p", {"a.png": encoded(picture), "w/a.png": encoded(where)})
        plan = Plan(masks="folder", mask_folder=root / "w")
        done = prepare(str(root), tmp_path / "out", plan)
        assert [w.file for w in done.written] == ["a.png"]

    def test_masks_go_where_their_pictures_go(self, hopper: Image.Image, tmp_path: Path) -> None:
        """A picture that is its own mask stays so through every cut and every size."""
        grey = hopper.convert("L")
        root = fill_folder(tmp_path / "p", {"a.png": encoded(grey.convert("RGB")),
                                            "masks/a.png": encoded(grey)})  # fmt: skip
        for number, plan in enumerate((Plan(face=True), Plan(fit=True), Plan(face=True, fit=True))):
            out = tmp_path / f"out{number}"
            prepare(str(root), out, plan, base="sd15")
            found = masks.read(out / "masks/a.png", "").astype(int)
            shown = np.asarray(Image.open(out / "a.png").convert("L"))
            assert found.shape == shown.shape
            assert np.abs(found - shown).mean() < 2


def tiny_network(path: Path, seed: int = 0) -> Path:
    """An ESRGAN of six layers with random weights, four times as large."""
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    torch.manual_seed(seed)
    network = RRDBNet(in_nc=3, out_nc=3, num_filters=4, num_blocks=1, scale=4)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


@pytest.fixture
def spandrel_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torchvision is not installed: names that LaMa and RestoreFormer import, only they."""
    if importlib.util.find_spec("spandrel") is None:
        pytest.skip("spandrel is an extra")
    try:
        import torchvision  # noqa: F401
    except ImportError:
        functional = types.ModuleType("torchvision.transforms.functional")
        for name in ("InterpolationMode", "rotate", "normalize"):
            setattr(functional, name, None)
        for name in ("torchvision", "torchvision.transforms"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, "torchvision.transforms.functional", functional)


@pytest.mark.usefixtures("spandrel_without_torchvision")
class TestUpscaling:
    def test_tiles_give_what_the_whole_gives(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One of them at a time, none larger than it may be."""
        model = upscale.load(tiny_network(tmp_path / "m.safetensors"))
        assert (model.scale, model.title) == (4, "ESRGAN")
        image = Image.effect_noise((75, 50), 80).convert("RGB")
        whole = np.asarray(model(image)).astype(int)
        assert whole.shape == (200, 300, 3)
        seen: list[tuple[int, ...]] = []
        network = model._model

        def watch(pixels: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(pixels.shape))
            return network(pixels)

        monkeypatch.setattr(model, "_model", watch)
        monkeypatch.setattr(upscale, "TILE_PX", 32)
        assert np.abs(np.asarray(model(image)) - whole).max() <= 1
        assert len(seen) == 6
        assert max(max(shape) for shape in seen) <= 32 + 2 * upscale.OVERLAP_PX

    def test_only_small_pictures_are_enlarged_and_then_fitted(self, tmp_path: Path) -> None:
        network = tiny_network(tmp_path / "m.safetensors")
        large = png(2, 200, 130)
        root = fill_folder(
            tmp_path / "p",
            {"large.png": large, "small.png": png(1, 60, 60), "masks/small.png": png(9, 60, 60),
             "tiny.png": png(1, 20, 24)},
        )  # fmt: skip
        done = prepare(str(root), tmp_path / "out", Plan(upscale=network))
        assert (tmp_path / "out/large.png").read_bytes() == large
        sizes = {w.file: (w.width_px, w.height_px) for w in done.written}
        assert sizes["small.png"] == (128, 128), "four times, then down to what covers its bucket"
        assert sizes["tiny.png"] == (80, 96), "four times is not enough"
        assert masks.read(tmp_path / "out/masks/small.png", "").shape == (128, 128)
        assert (tmp_path / "p/small.png").read_bytes() == png(1, 60, 60)
        fitted = prepare(str(root), tmp_path / "fit", Plan(upscale=network, fit=True))
        bucket = choose_bucket(80, 96, resolution_px=128, multiple=8, max_aspect=2)
        assert {(w.width_px, w.height_px) for w in fitted.written if w.file == "tiny.png"} == {
            (bucket.width_px, bucket.height_px)
        }
        assert [item for item, code in codes(fitted) if code == "enlarged"] == ["tiny.png"]

    @pytest.mark.parametrize(
        ("name", "data", "words"),
        [
            ("m.pth", b"\x80\x04.", "is a pickle, which could run code"),
            ("m.onnx", b"x", "could run code"),
            ("m.safetensors", b"x" * 40, "cannot be read as a model"),
            ("m.safetensors", None, "check the path"),
        ],
    )
    def test_files_that_are_not_taken(
        self, name: str, data: bytes | None, words: str, tmp_path: Path
    ) -> None:
        pytest.importorskip("einops")
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(UpscalerUnusable, match=words) as caught:
            upscale.load(tmp_path / name)
        assert "\n" not in str(caught.value)

    def test_networks_that_do_not_enlarge(self, tmp_path: Path) -> None:
        path = tmp_path / "m.safetensors"
        save_file({"a.weight": torch.zeros(3, 3)}, path)
        with pytest.raises(UpscalerUnusable, match="of no architecture"):
            upscale.load(path)
        from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

        network = RRDBNet(in_nc=1, out_nc=1, num_filters=4, num_blocks=1, scale=4)
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
        with pytest.raises(UpscalerUnusable, match="does not enlarge colour pictures"):
            upscale.load(path)


def test_without_spandrel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    (tmp_path / "m.safetensors").write_bytes(b"x")
    with pytest.raises(UpscalerUnusable, match=r"pip install 'loraloom\[upscale\]'"):
        upscale.load(tmp_path / "m.safetensors")


def test_conversion(tmp_path: Path) -> None:
    """Turned, in another colour space, transparent: as the trainer would open it, without EXIF."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    gradient = Image.radial_gradient("L").resize((60, 40))
    colours = Image.merge("RGB", [gradient, gradient.rotate(90), gradient.rotate(180)])
    layered = colours.copy()
    layered.putalpha(gradient)
    files: dict[str, bytes | str] = {
        "a.jpg": encoded(colours, "JPEG", exif=exif), "b.webp": encoded(layered, "WEBP"),
        "c.tif": encoded(colours.convert("CMYK"), "TIFF"), "d.bmp": encoded(colours, "BMP"),
    }  # fmt: skip
    root = fill_folder(tmp_path / "p", files)
    done = prepare(str(root), tmp_path / "out", Plan(png=True))
    assert [w.file for w in done.written] == ["a.png", "b.png", "c.png", "d.png"]
    for name in files:
        new = Image.open((tmp_path / "out" / name).with_suffix(".png"))
        expected = images.open_rgb(root / name)
        assert (new.format, new.mode, dict(new.getexif())) == ("PNG", "RGB", {})
        assert np.array_equal(np.asarray(new), np.asarray(expected))
        assert (root / name).read_bytes() == files[name]


def test_twins_by_name_stay_two(tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {"a.png": png(1), "a.bmp": encoded(Image.new("RGB", (9, 9)
                       ).resize((40, 40)), "BMP")})  # fmt: skip
    done = prepare(str(root), tmp_path / "out", Plan(png=True))
    assert [w.file for w in done.written] == ["a.png", "a-2.png"]


@pytest.mark.parametrize("size", [(512, 600), (1000, 400), (90, 90)])
def test_fitting(size: tuple[int, int], hopper: Image.Image, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {"a.png": encoded(hopper.resize(size))})
    done = prepare(str(root), tmp_path / "out", Plan(fit=True), base="sd15")
    bucket = choose_bucket(*size, resolution_px=512, multiple=64, max_aspect=2)
    (written,) = done.written
    assert (written.width_px, written.height_px) == (bucket.width_px, bucket.height_px)
    assert Image.open(tmp_path / "out/a.png").size == (bucket.width_px, bucket.height_px)
    assert done.buckets() == {f"{bucket.width_px} × {bucket.height_px}": 1}
    assert codes(done) == [("a.png", "enlarged")] * plan_crop(*size, bucket).enlarges


class TestPreview:
    def test_frames_are_where_training_cuts(self, tmp_path: Path) -> None:
        """The frame's colour stands at the borders of the bucket; all beyond is darker."""
        root = fill_folder(
            tmp_path / "p", {"a.png": encoded(Image.new("RGB", (400, 128), "white"))}
        )
        done = prepare(str(root), tmp_path / "out", Plan(preview=True), sheet=tmp_path / "s.png")
        assert done.sheets == (tmp_path / "s.png",)
        assert (tmp_path / "out/a.png").read_bytes() == (root / "a.png").read_bytes()
        page = np.asarray(Image.open(tmp_path / "s.png")).astype(int)
        ys, xs = np.nonzero((page == preview.FRAME).all(-1))
        bucket = choose_bucket(400, 128, resolution_px=128, multiple=8, max_aspect=2)
        shown = bucket.width_px / bucket.height_px * 128 / 400
        assert (xs.max() - xs.min() + 1) / preview.CELL_PX == pytest.approx(shown, abs=0.01)
        row = page[(ys.min() + ys.max()) // 2]
        assert (row[xs.min() - 5] < 140).all()
        assert (row[(xs.min() + xs.max()) // 2] == 255).all()

    def test_many_pictures_take_several_sheets(self, tmp_path: Path) -> None:
        path = tmp_path / "t.png"
        path.write_bytes(png(1))
        cells = [preview.Cell(path, (0, 0, 1, 1), "杯子 " * 20, "x")] * 61
        pages = preview.sheets(cells, "a title " * 99, "x")
        assert len(pages) == 2
        assert pages[1].height < pages[0].height
        assert [p.name for p in preview.paths(tmp_path / "s.png", 2)] == ["s.png", "s-2.png"]

    def test_masks_are_veiled(self, tmp_path: Path) -> None:
        picture, where = scene()
        root = fill_folder(
            tmp_path / "p", {"a.png": encoded(picture), "masks/a.png": encoded(where)}
        )
        prepare(str(root), tmp_path / "out", Plan(preview=True), sheet=tmp_path / "s.png")
        page = np.asarray(Image.open(tmp_path / "s.png")).astype(int)
        blue = (page[..., 2] > 190) & (page[..., 0] < 60)
        brown = (page[..., 0] > page[..., 2] + 60) & (page[..., 0] < 200)
        assert blue.sum() > 5000
        assert brown.sum() < 1000


def test_everything_that_is_broken_is_told_at_once(tmp_path: Path) -> None:
    root = fill_folder(
        tmp_path / "p", {"a.png": png(1), "b.png": b"x", "c.jpg": b"", "e.svg": b"x"}
    )
    with pytest.raises(DatasetProblems, match=r"e\.svg: \.svg files are not accepted"):
        prepare(str(root), tmp_path / "out", Plan(png=True))
    (root / "e.svg").unlink()
    with pytest.raises(DatasetProblems) as caught:
        prepare(str(root), tmp_path / "out", Plan(png=True))
    assert [line.split(":")[0] for line in caught.value.problems] == ["b.png", "c.jpg"]
    assert not (tmp_path / "out").exists()
    done = prepare(str(root), tmp_path / "out", Plan(png=True), skip_broken=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "prepared.json"]
    assert [f.code for f in done.findings] == ["not_an_image", "not_an_image"]


def test_grabcut_and_faces_are_the_same_in_threads(hopper: Image.Image, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{n}.png": encoded(hopper.resize((256, 300)))
                                     for n in range(4)}  # fmt: skip
    root = fill_folder(tmp_path / "p", files)
    prepare(str(root), tmp_path / "out", Plan(face=True, masks="grabcut"))
    for folder in ("", "masks/"):
        found = {(tmp_path / "out" / f"{folder}{n}.png").read_bytes() for n in range(4)}
        assert len(found) == 1
