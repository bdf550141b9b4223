"""Layouts of other programs: recognised, read, written, and read again with the same hash."""

import csv
import io
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.zips import fill_folder, png

from loraloom.dataset import exports, intake, layouts
from loraloom.dataset.layouts.metadata import mark_cell, unmark_cell
from loraloom.dataset.layouts.reading import Reading
from loraloom.dataset.snapshot import MAIN, Concept, Contents
from loraloom.dataset.source import Listing, SourceFile, list_folder
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import FolderEmpty, IntakeRefused, OutputExists
from loraloom.settings import IntakeLimits

Files = dict[str, bytes | str]


def read(root: Path, files: Files) -> Reading:
    return layouts.read(list_folder(fill_folder(root, files), IntakeLimits()))


def captions(reading: Reading) -> dict[str, tuple[str, str]]:
    """Name -> caption, concept."""
    return {c.file.name: (c.caption, c.concept) for c in reading.candidates}


def codes(reading: Reading) -> list[str]:
    return sorted(finding.code for finding in reading.findings)


class TestPlain:
    def test_captions_beside(self, tmp_path: Path) -> None:
        reading = read(
            tmp_path,
            {
                "a.png": b"",
                "a.txt": "a  red\ncup",
                "b.JPG": b"",
                "B.caption": "blue",
                "c.webp": b"",
            },
        )
        assert reading.layout == "plain"
        assert captions(reading) == {
            "a.png": ("a red cup", MAIN),
            "b.JPG": ("blue", MAIN),
            "c.webp": ("", MAIN),
        }

    def test_one_folder_around_all_is_no_concept(self, tmp_path: Path) -> None:
        reading = read(tmp_path, {"pics/deep/a.png": b"", "pics/deep/a.txt": "x"})
        assert captions(reading) == {"pics/deep/a.png": ("x", MAIN)}

    def test_folders_are_concepts(self, tmp_path: Path) -> None:
        reading = read(tmp_path, {"all/cat/1.png": b"", "all/dog/1.png": b"", "all/a/b/1.png": b""})
        assert {c.concept for c in reading.candidates} == {"cat", "dog", "a_b"}

    def test_concepts_file(self, tmp_path: Path) -> None:
        text = '[[concepts]]\nfolder = "x"\nname = "Cat"\ntrigger = "ohwx cat"\nnum_repeats = 3\n'
        reading = read(tmp_path, {"x/1.png": b"", "y/1.png": b"", "concepts.toml": text})
        assert reading.concepts == {"Cat": Concept("Cat", "ohwx cat", 3)}
        assert codes(reading) == ["picture_not_listed"]

    def test_twins_of_one_caption(self, tmp_path: Path) -> None:
        reading = read(
            tmp_path,
            {"a.png": b"", "a.jpg": b"", "a.txt": "x", "b.png": b"", "b.txt": "x",
             "b.caption": "y", "c.png": b"", "c.gif": b"1"},
        )  # fmt: skip
        assert codes(reading) == ["ambiguous_caption", "ambiguous_caption"]
        assert set(captions(reading)) == {"c.png", "c.gif"}
        assert "a.jpg and a.png and a.txt share one name" in reading.findings[0].message

    def test_captions_that_cannot_be_used(self, tmp_path: Path) -> None:
        reading = read(
            tmp_path,
            {"long.png": b"", "long.txt": "x" * 8193, "empty.png": b"", "empty.txt": " \n",
             "binary.png": b"", "binary.txt": b"\x81\x8d", "alone.txt": "x", "huge.png": b"",
             "huge.txt": "x" * 10**7},
        )  # fmt: skip
        assert captions(reading) == {"empty.png": ("", MAIN)}
        assert codes(reading) == ["caption_not_text", "caption_too_long", "caption_too_long",
                                  "caption_without_picture"]  # fmt: skip

    @pytest.mark.parametrize(
        ("data", "caption", "told"),
        [
            (b"a\0 cup", "a cup", ["caption_mended"]),
            (b"a \x1b[31mred\x1b[0m\x07 cup\r\n", "a red cup", ["caption_mended"]),
            (b"caf\xe9", "café", ["caption_mended"]),
            ("é".encode("utf-8-sig"), "é", []),
            ("é 杯".encode("utf-16"), "é 杯", []),
            ("cafe\u0301".encode(), "café", []),
        ],
    )
    def test_encodings(self, data: bytes, caption: str, told: list[str], tmp_path: Path) -> None:
        reading = read(tmp_path, {"a.png": b"", "a.txt": data})
        assert captions(reading) == {"a.png": (caption, MAIN)}
        assert codes(reading) == told

    def test_clips_stand_beside_pictures(self, tmp_path: Path) -> None:
        reading = read(
            tmp_path,
            {"a.png": b"", "b.mp4": b"", "b.txt": "runs", "c.mkv": b"", "d.svg": b"", "e.avi": b""},
        )
        assert captions(reading) == {"a.png": ("", MAIN), "b.mp4": ("runs", MAIN),
                                     "c.mkv": ("", MAIN)}  # fmt: skip
        assert codes(reading) == ["unsupported_format"] * 2


class TestKohya:
    def test_folders(self, tmp_path: Path) -> None:
        reading = read(
            tmp_path,
            {"img/10_ohwx woman/1.png": b"", "img/10_ohwx woman/1.txt": "a woman",
             "img/10_ohwx woman/2.png": b"", "img/3_style/1.png": b"", "img/3_style/1.caption": "s",
             "reg/1_woman/9.png": b""},
        )  # fmt: skip
        assert reading.layout == "kohya folders"
        assert list(reading.concepts.values()) == [
            Concept("ohwx woman", "ohwx woman", 10),
            Concept("style", "style", 3),
        ]
        assert captions(reading) == {
            "img/10_ohwx woman/1.png": ("a woman", "ohwx woman"),
            "img/10_ohwx woman/2.png": ("ohwx woman", "ohwx woman"),
            "img/3_style/1.png": ("s", "style"),
        }
        assert codes(reading) == ["caption_from_folder", "regularisation_left_out"]

    def test_dataset_toml(self, tmp_path: Path) -> None:
        """The example of kohya's documentation, with its inheritance, and what else it allows."""
        text = r"""
            [general]
            shuffle_caption = true
            caption_extension = '.txt'
            num_repeats = 2
            [[datasets]]
            resolution = 512
            batch_size = 4
              [[datasets.subsets]]
              image_dir = 'C:\data\hoge'
              class_tokens = 'hoge girl'
              [[datasets.subsets]]
              image_dir = 'C:\data\fuga'
              class_tokens = 'fuga boy'
              num_repeats = 5
              caption_extension = '.caption'
              caption_prefix = 'photo,'
              [[datasets.subsets]]
              is_reg = true
              image_dir = 'C:\data\reg'
            [[datasets]]
            resolution = [768, 768]
              [[datasets.subsets]]
              image_dir = 'C:\data\piyo'
              metadata_file = 'C:\data\piyo\piyo_md.json'
              [[datasets.subsets]]
              image_dir = 'C:\data\hoge'
              [[datasets.subsets]]
              image_dir = 'C:\data\nowhere'
        """
        table = {"1": {"caption": "a bird", "tags": "beak, wing"}, "/x/2.png": {"tags": "egg"}}
        reading = read(
            tmp_path,
            {"set/dataset.toml": text, "set/hoge/1.png": b"", "set/hoge/1.txt": "one",
             "set/hoge/2.png": b"", "set/fuga/1.png": b"", "set/fuga/1.caption": "two",
             "set/fuga/1.txt": "not this", "set/reg/1.png": b"", "set/piyo/1.png": b"",
             "set/piyo/2.png": b"", "set/piyo/piyo_md.json": json.dumps(table),
             "set/other/1.png": b""},
        )  # fmt: skip
        assert reading.layout == "kohya TOML"
        assert list(reading.concepts.values()) == [
            Concept("hoge", "hoge girl", 2),
            Concept("fuga", "fuga boy", 5),
            Concept("piyo", "", 2),
        ]
        assert {name: text for name, (text, _) in captions(reading).items()} == {
            "set/hoge/1.png": "one",
            "set/hoge/2.png": "hoge girl",
            "set/fuga/1.png": "photo, two",
            "set/piyo/1.png": "a bird, beak, wing",
            "set/piyo/2.png": "egg",
        }
        assert codes(reading) == [
            "caption_from_folder", "folder_missing", "picture_not_listed", "regularisation_left_out"
        ]  # fmt: skip


def test_ai_toolkit(tmp_path: Path) -> None:
    job = """
job: extension
config:
  name: "my_first_flux_lora_v1"
  process:
    - type: 'sd_trainer'
      trigger_word: "p3r5on"
      datasets:
        - folder_path: "/path/to/images"
          caption_ext: "txt"
          resolution: [512, 768]
        - folder_path: "/path/to/images"
          resolution: [1024]
        - folder_path: "more"
          num_repeats: 4
          trigger_word: "other"
          default_caption: "a [trigger]"
"""
    reading = read(
        tmp_path,
        {"job.yaml": job, "images/1.jpg": b"", "images/1.txt": "photo of [trigger]",
         "more/2.png": b""},
    )  # fmt: skip
    assert reading.layout == "ai-toolkit"
    assert captions(reading) == {
        "images/1.jpg": ("photo of p3r5on", "images"),
        "more/2.png": ("a other", "more"),
    }
    assert reading.concepts["more"] == Concept("more", "other", 4)
    assert codes(reading) == ["caption_from_folder"]


class TestMetadata:
    @pytest.mark.parametrize("kind", ["jsonl", "csv"])
    def test_imagefolder(self, kind: str, tmp_path: Path) -> None:
        rows = [{"file_name": "1.png", "text": "one, two"}, {"file_name": "s/2.png", "text": "=x"}]
        if kind == "jsonl":
            text = "".join(json.dumps(row) + "\n" for row in rows)
        else:
            text = 'file_name,text\n1.png,"one, two"\ns/2.png,\'=x\n'
        reading = read(
            tmp_path,
            {f"train/metadata.{kind}": text, "train/1.png": b"", "train/s/2.png": b"",
             "train/3.png": b"", "train/3.txt": "three", "train/1.txt": "not this"},
        )  # fmt: skip
        assert reading.layout == "imagefolder"
        assert {name: text for name, (text, _) in captions(reading).items()} == {
            "train/1.png": "one, two",
            "train/s/2.png": "=x",
            "train/3.png": "three",
        }

    @pytest.mark.parametrize(
        ("text", "code", "word"),
        [
            ('{"file_name": "1.png"', "metadata_broken", "after line 0"),
            ("[1, 2]", "metadata_broken", "must be an object"),
            ("[" * 10**5, "metadata_broken", "JSONL"),
            ('{"text": "x"}', "metadata_broken", "columns: text"),
            ('{"file_name": "../../etc/passwd.png"}', "caption_without_picture", "no picture"),
            ('{"file_name": "/1.png"}', "caption_without_picture", "no picture"),
            ('{"file_name": "1.png", "text": "%s"}' % ("x" * 9000), "caption_too_long", "9,000"),
            ('{"file_name": "1.png", "text": "\\ud800"}', "caption_mended", "surrogate"),
            ('{"file_name": "1.png", "text": "a\\u0000b"}', "caption_mended", "NUL"),
            ('{"file_name": "1.png", "num_repeats": -1}', "repeats_invalid", "-1 repeats"),
            ('{"file_name": "1.png"}\n{"file_name": "1.PNG"}', "named_twice", "before"),
        ],
    )
    def test_broken_rows(self, text: str, code: str, word: str, tmp_path: Path) -> None:
        reading = read(tmp_path, {"metadata.jsonl": text, "1.png": b""})
        assert code in codes(reading)
        finding = next(finding for finding in reading.findings if finding.code == code)
        assert word in finding.message

    def test_csv_that_is_none(self, tmp_path: Path) -> None:
        reading = read(tmp_path, {"metadata.csv": 'file_name,text\n1.png,"open', "1.png": b""})
        assert codes(reading) == ["metadata_broken"]

    @given(st.text())
    def test_cells_come_back(self, text: str) -> None:
        assert unmark_cell(mark_cell(text)) == text
        assert not mark_cell(text).startswith(("=", "+", "-", "@"))


def listing_of(files: Files) -> Listing:
    """A source in memory."""

    def pieces_of(content: bytes | str) -> Callable[[], object]:
        return lambda: iter([content if isinstance(content, bytes) else content.encode()])

    return Listing([SourceFile(name, pieces_of(data)) for name, data in files.items()])  # type: ignore[arg-type]


TEXTS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["file_name", "text", "concept", "num_repeats", "datasets", "subsets", "config",
                 "process", "folder_path", "image_dir", "metadata_file", "concepts", "folder"]
            ),
            inner,
            max_size=4,
        ),
    ).map(lambda tree: json.dumps(tree).encode()),
    st.sampled_from(
        [b"[[datasets]]\n[[datasets.subsets]]\nimage_dir = 1\nnum_repeats = 1.5\n",
         b"[[datasets]]\nsubsets = [{image_dir = 'a', caption_extension = 3, class_tokens = 4}]\n",
         b"concepts = 3", b"[[concepts]]\nfolder = 3\n", b"a: &x [*x, *x]\n", b"? [1]\n: 2\n",
         b"config: {process: [{datasets: [{folder_path: a, num_repeats: x, caption_ext: 3}]}]}",
         b"file_name,text\n\"a/1.png\",x,y,z\n", b"file_name\n'=1,\n\0",
         b"!!python/object:os.x {}\n",
         b"2001-99-99: 1", b"{" * 5000]
    ),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["metadata.jsonl", "metadata.csv", "dataset.toml", "job.yaml", "concepts.toml",
                     "a/1.txt", "a/md.json"]),
    TEXTS,
)  # fmt: skip
def test_any_description_gives_pictures_and_sentences(name: str, data: bytes) -> None:
    reading = layouts.read(listing_of({name: data, "a/1.png": b"x", "a/2.png": b"x"}))
    assert {c.file.name for c in reading.candidates} <= {"a/1.png", "a/2.png"}
    for finding in reading.findings:
        assert "\n" not in finding.message
    for candidate in reading.candidates:
        candidate.caption.encode()
        assert candidate.concept in reading.concepts


# Round trips


CAPTIONS = ["=1+1 cup", "-a", "'=x", 'a "quoted", cup\\', "杯子 é", "#hash: [x]", "@a, b"]


@pytest.fixture
def stored(tmp_path: Path) -> StoredDataset:
    """Two concepts, odd captions and names, one generated picture."""
    files: Files = {}
    for number, caption in enumerate(CAPTIONS):
        folder = "10_ohwx cup" if number % 2 else "3_con"
        name = ["same", "x" * 200, "日本", "a b.c", "CON", "=x"][number % 6] + str(number // 6)
        files[f"{folder}/{name}.png"] = png(number)
        files[f"{folder}/{name}.txt"] = caption
    dataset = Store(tmp_path / "store").place("cups")
    intake.import_into(dataset, [fill_folder(tmp_path / "source", files)])
    dataset.set_concepts([Concept("ohwx cup", 'ohwx "cup" \\ 杯', 7), Concept("_con", "", 1)])
    return dataset


def again(tmp_path: Path, target: Path) -> Contents:
    dataset = Store(tmp_path / "store2").place("cups")
    intake.import_into(dataset, [target])
    return dataset.working


@pytest.mark.parametrize("form", ["kohya", "ai-toolkit", "diffusers", "diffusers-csv", "zip"])
def test_round_trip(form: str, stored: StoredDataset, tmp_path: Path) -> None:
    to: exports.Format = form.removesuffix("-csv")  # type: ignore[assignment]
    target = tmp_path / "out" / ("x.zip" if form == "zip" else "x")
    before = stored.working
    assert len(before.pictures) == len(CAPTIONS)
    exports.export(before, stored.objects, to, target, as_csv=form.endswith("csv"))
    moved = target.rename(tmp_path / f"moved{target.suffix}")
    assert again(tmp_path, moved).hash == before.hash
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("to", ["diffusers", "zip", "kohya", "ai-toolkit"])
def test_round_trip_of_the_simplest(to: exports.Format, tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "pics", {"a.png": png(1), "a.txt": "x", "b.png": png(2)})
    (root / "b.txt").write_text("y")
    dataset = Store(tmp_path / "store").place("cups")
    intake.import_into(dataset, [root])
    target = tmp_path / ("out.zip" if to == "zip" else "out")
    exports.export(dataset.working, dataset.objects, to, target)
    assert again(tmp_path, target).hash == dataset.working.hash


DATASET_KEYS = {"batch_size", "bucket_no_upscale", "bucket_reso_steps", "enable_bucket",
                "max_bucket_reso", "min_bucket_reso", "resolution",
                "skip_image_resolution"}  # fmt: skip
SUBSET_KEYS = {"color_aug", "face_crop_aug_range", "flip_aug", "keep_tokens", "num_repeats",
               "random_crop", "shuffle_caption", "caption_prefix", "caption_suffix",
               "caption_separator", "keep_tokens_separator", "secondary_separator",
               "enable_wildcard", "resize_interpolation", "caption_extension", "cache_info",
               "caption_dropout_every_n_epochs", "caption_dropout_rate",
               "caption_tag_dropout_rate"}  # fmt: skip
OWN_KEYS = {"image_dir": str, "class_tokens": str, "is_reg": bool, "num_repeats": int}


def strict_kohya(path: Path) -> list[dict[str, object]]:
    """Subsets of a dataset TOML; any key or type that docs/config_README lacks is refused."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(table) <= {"general", "datasets"}
    assert set(table.get("general", {})) <= DATASET_KEYS | SUBSET_KEYS
    subsets: list[dict[str, object]] = []
    for dataset in table["datasets"]:
        assert set(dataset) - {"subsets"} <= DATASET_KEYS | SUBSET_KEYS
        for subset in dataset["subsets"]:
            assert set(subset) <= SUBSET_KEYS | set(OWN_KEYS)
            assert all(isinstance(subset[key], OWN_KEYS[key]) for key in OWN_KEYS if key in subset)
            assert "image_dir" in subset, "required"
            subsets.append(table.get("general", {}) | subset)
    return subsets


def test_kohya_reads_what_is_written(stored: StoredDataset, tmp_path: Path) -> None:
    exports.export(stored.working, stored.objects, "kohya", tmp_path / "out")
    subsets = strict_kohya(tmp_path / "out" / "dataset.toml")
    assert [(s.get("class_tokens"), s["num_repeats"]) for s in subsets] == [
        ('ohwx "cup" \\ 杯', 7),
        (None, 1),
    ]
    for subset in subsets:
        folder = Path(str(subset["image_dir"]))
        pictures = [p for p in folder.iterdir() if p.suffix == ".png"]
        assert pictures
        for picture in pictures:
            assert picture.with_suffix(str(subset["caption_extension"])).read_text().strip()
            assert len(picture.name.encode()) <= 100


def test_strict_parser_refuses_what_is_not_documented(tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "x"\ntrigger = "y"\n')
    with pytest.raises(AssertionError):
        strict_kohya(path)


def test_ai_toolkit_reads_what_is_written(stored: StoredDataset, tmp_path: Path) -> None:
    exports.export(stored.working, stored.objects, "ai-toolkit", tmp_path / "out")
    job = yaml.safe_load((tmp_path / "out" / "datasets.yaml").read_text(encoding="utf-8"))
    (process,) = job["config"]["process"]
    for dataset in process["datasets"]:
        assert set(dataset) <= {"folder_path", "caption_ext", "num_repeats", "trigger_word"}
        assert list(Path(dataset["folder_path"]).glob("*.png"))


def test_csv_opens_without_formulas(stored: StoredDataset, tmp_path: Path) -> None:
    exports.export(stored.working, stored.objects, "diffusers", tmp_path / "out", as_csv=True)
    text = (tmp_path / "out" / "metadata.csv").read_text(encoding="utf-8")
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert "'=1+1 cup" in cells
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def test_lineage_travels_with_metadata(stored: StoredDataset, tmp_path: Path) -> None:
    files = fill_folder(tmp_path / "new", {
        "a.png": png(99),
        "metadata.jsonl": '{"file_name": "a.png", "text": "x", "generated_by": "abc123"}',
    })  # fmt: skip
    before = stored.working.hash
    intake.import_into(stored, [files])
    exports.export(stored.working, stored.objects, "diffusers", tmp_path / "out")
    found = [p.generated_by for p in again(tmp_path, tmp_path / "out").pictures]
    assert sorted(found) == [""] * len(CAPTIONS) + ["abc123"]
    assert stored.working.hash != before


def test_exports_never_overwrite_and_leave_nothing_half(
    stored: StoredDataset, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(OutputExists):
        exports.export(stored.working, stored.objects, "kohya", target)
    with pytest.raises(FolderEmpty):
        exports.export(Contents(), stored.objects, "kohya", tmp_path / "other")
    stored.objects.path(stored.working.pictures[3].sha256).write_bytes(b"rotten")
    before = sorted(tmp_path.iterdir())
    for to, place in (("zip", "x.zip"), ("kohya", "x")):
        with pytest.raises(Exception, match="not what was stored"):
            exports.export(stored.working, stored.objects, to, tmp_path / place)  # type: ignore[arg-type]
    assert sorted(tmp_path.iterdir()) == before


def test_export_tells_what_the_other_trainer_cannot_read(tmp_path: Path) -> None:
    from PIL import Image
    from tests.zips import encoded

    root = fill_folder(tmp_path / "p", {"a.heic": encoded(Image.new("RGB", (32, 32)), "HEIF")})
    dataset = Store(tmp_path / "store").place("x")
    intake.import_into(dataset, [root])
    warnings = exports.export(dataset.working, dataset.objects, "kohya", tmp_path / "out")
    assert warnings == ["1 pictures have no caption.", "kohya may not read .heic files."]


def test_a_broken_concepts_file_refuses(tmp_path: Path) -> None:
    root = fill_folder(tmp_path / "p", {"a.png": png(1), "concepts.toml": "[["})
    with pytest.raises(IntakeRefused, match="is not TOML"):
        intake.import_into(Store(tmp_path / "store").place("x"), [root], skip_broken=True)
