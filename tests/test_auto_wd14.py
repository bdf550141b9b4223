"""WD14-type taggers: what the network gets, what its answers mean."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.tiny_tagger import ROWS, SIDE_PX, certain, write_labels, write_tagger

from loraloom.captions.auto import booru
from loraloom.captions.auto.labels import read_labels
from loraloom.captions.auto.wd14 import Wd14, prepare
from loraloom.errors import TaggerUnusable


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def padded(image: Image.Image) -> torch.Tensor:
    """(side, side, 3) BGR, white on both sides, computed apart from the code that is tested."""
    rgb = torch.from_numpy(np.array(image)).float()
    height, width, _ = rgb.shape
    side = max(height, width)
    square = torch.full((side, side, 3), 255.0)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = rgb
    return square[..., [2, 1, 0]]


@pytest.mark.parametrize("size", [(16, 16), (16, 9), (5, 16)])
def test_a_picture_is_padded_with_white_and_turned_to_bgr(size: tuple[int, int]) -> None:
    image = picture(*size)
    assert np.array_equal(prepare(image, SIDE_PX), padded(image).numpy())


def test_a_picture_is_resized_bicubically() -> None:
    image = picture(60, 37)
    planes = padded(image).permute(2, 0, 1)[None]
    wanted = F.interpolate(planes, (SIDE_PX, SIDE_PX), mode="bicubic", antialias=True)
    found = prepare(image, SIDE_PX)
    assert found.dtype == np.float32
    assert np.abs(found - wanted[0].permute(1, 2, 0).clamp(0, 255).numpy()).max() < 2


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_shares_are_the_sigmoid_of_the_networks_layer(tmp_path: Path, batch: int | str) -> None:
    weight, bias = write_tagger(tmp_path, batch=batch)
    images = [picture(16, 12, seed) for seed in range(3)]
    rows = torch.stack([padded(image).flatten() for image in images])
    wanted = torch.sigmoid(rows @ torch.from_numpy(weight) + torch.from_numpy(bias)).numpy()
    tagger = Wd14(tmp_path)
    if batch == 1:
        found = np.concatenate([tagger.shares([image]) for image in images])
    else:
        found = tagger.shares(images)
    assert np.allclose(found, wanted, atol=1e-5)
    assert tagger.batch == (batch if isinstance(batch, int) else 8)


def test_ratings_and_scores_are_left_out_and_names_are_marked(tmp_path: Path) -> None:
    write_tagger(tmp_path, bias=certain([name for name, _ in ROWS]))
    (answer,) = Wd14(tmp_path).describe([(picture(16, 16),)])
    assert [tag.name for tag in answer.tags] == [
        "1girl", "long hair", "smile", "^_^", "looking at viewer", "white shirt", "shirt",
        "outdoors", "hatsune miku",
    ]  # fmt: skip
    assert [tag.name for tag in answer.tags if tag.names] == ["hatsune miku"]
    assert all(tag.share > 0.9 for tag in answer.tags)


@pytest.mark.parametrize(
    ("tag", "words"),
    [("long_hair", "long hair"), ("^_^", "^_^"), ("o_o", "o_o"), ("||_||", "||_||"),
     ("(o)_(o)", "(o)_(o)"), (":d", ":d"), ("t-shirt", "t-shirt"), ("v", "v")],
)  # fmt: skip
def test_underscores_are_spaces_but_in_faces(tag: str, words: str) -> None:
    assert booru.in_words(tag) == words


ODD = st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"], blacklist_characters="_")
names = st.text(ODD, min_size=4, max_size=30).filter(
    lambda name: name.strip() == name and not name.casefold().startswith(("rating", "score"))
)


@given(rows=st.lists(st.tuples(names, st.sampled_from(["0", "4", "9", "5"])), min_size=1))
def test_labels_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("labels") / "selected_tags.csv"
    write_labels(path, rows)
    uses = {"0": "general", "4": "names"}
    wanted = [(name, uses.get(category, "left out")) for name, category in rows]
    assert [(label.name, label.use) for label in read_labels(path)] == wanted


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "columns none"),
        ("id,tag\n1,cat\n", "columns id, tag"),
        ("tag_id,name,category,count\n", "names no tag"),
        ("tag_id,name,category,count\n1,cat,general,3\n", "line 2: 'cat' has the category"),
        ("tag_id,name,category,count\n1,,0,3\n", "line 2: ''"),
        ("tag_id,name,category,count\n1\n", "line 2: None"),
        ('tag_id,name,category,count\n1,"cat,0,3\n', "cannot be read"),
    ],
)
def test_a_broken_list_of_tags_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "selected_tags.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TaggerUnusable, match=says):
        read_labels(path)


def test_tags_and_network_must_fit(tmp_path: Path) -> None:
    write_tagger(tmp_path)
    write_labels(tmp_path / "selected_tags.csv", ROWS[:-1])
    with pytest.raises(TaggerUnusable, match=r"answers 12 values .* names 11 tags"):
        Wd14(tmp_path).shares([picture(16, 16)])


def test_a_network_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_tagger(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(TaggerUnusable, match="no network that onnxruntime can read"):
        Wd14(tmp_path)
