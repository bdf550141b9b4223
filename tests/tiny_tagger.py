"""A WD14-type tagger of random weights: model.onnx and selected_tags.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE_PX = 16
ROWS = [
    ("general", "9"), ("sensitive", "9"), ("1girl", "0"), ("long_hair", "0"), ("smile", "0"),
    ("^_^", "0"), ("looking_at_viewer", "0"), ("white_shirt", "0"), ("shirt", "0"),
    ("outdoors", "0"), ("hatsune_miku", "4"), ("score_9", "0"),
]  # fmt: skip


def write_tagger(
    folder: Path, rows: Sequence[tuple[str, str]] = ROWS, *, seed: int = 0,
    batch: int | str = "batch", bias: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """Write it; the weights (side · side · 3, tags) and the bias (tags,) of its one layer."""
    rng = np.random.default_rng(seed)
    size = SIDE_PX * SIDE_PX * 3
    weight = (rng.standard_normal((size, len(rows))) / 255 / size**0.5).astype(np.float32)
    shift = rng.standard_normal(len(rows)).astype(np.float32) if bias is None else bias
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["pictures", "flat"], ["row"]),
            helper.make_node("Gemm", ["row", "weight", "bias"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["shares"]),
        ],
        "tagger",
        [
            helper.make_tensor_value_info(
                "pictures", TensorProto.FLOAT, [batch, SIDE_PX, SIDE_PX, 3]
            )
        ],
        [helper.make_tensor_value_info("shares", TensorProto.FLOAT, [batch, len(rows)])],
        [
            numpy_helper.from_array(np.array([-1, size], np.int64), "flat"),
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(shift, "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "model.onnx"))
    write_labels(folder / "selected_tags.csv", rows)
    return weight, shift


def write_labels(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["tag_id", "name", "category", "count"])
        writer.writerows([(n, name, category, 10) for n, (name, category) in enumerate(rows)])


def certain(names: Sequence[str], rows: Sequence[tuple[str, str]] = ROWS) -> NDArray[np.float32]:
    """A bias that makes just these tags sure, whatever the picture."""
    return np.array([9.0 if name in names else -9.0 for name, _ in rows], np.float32)
