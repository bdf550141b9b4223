"""Train the starter's tagger, write it, and measure it on held-out pictures.

    python -m loraloom.starter.training.tagging WORK_FOLDER --minutes 30

It begins with the judge's convolutions, goes on from WORK_FOLDER/tagger.pt until its minutes are
used up, and writes `model.onnx` and `selected_tags.csv`. With `--minutes 0` the tagger that is
shipped is measured. One thread is enough.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from loraloom.captions.auto.wd14 import Wd14
from loraloom.files import write_atomic
from loraloom.starter.judge import READS, SIZE_PX, Judge, judge_loss, labels
from loraloom.starter.tagnet import Tagger, TagNet
from loraloom.starter.tags import TAGS, true_tags
from loraloom.starter.training.judging import worn
from loraloom.starter.training.muon import muon_and_adamw
from loraloom.starter.training.pictures import SPLITS, pictures, scene_of, to_pixels
from loraloom.starter.training.progress import Stage

PACKAGED = Path(__file__).parent.parent / "tagger"
BATCH, NEAR_SHARE, RATE = 32, 0.7, 1.5e-3
"""So many of the pictures show a face that is near: there is most to tell."""


def train_tagger(folder: Path, minutes: float) -> TagNet:
    """Train for `minutes`; resumes from folder/tagger.pt."""
    torch.manual_seed(3)
    net = TagNet().train()
    net.body.load_state_dict(Judge.load().net.body.state_dict())
    optimisers = muon_and_adamw(net, RATE, ends=("body.0.", "heads."), weight_decay=1e-2)
    stage = Stage(folder / "tagger.pt", net, optimisers, minutes=minutes, rate=RATE)
    splits = {split: pictures(folder, split) for split in ("base", "wide")}
    wanted = {split: _labels(split) for split in splits}
    near = {split: np.flatnonzero(wanted[split]["expression"].numpy() >= 0) for split in splits}
    for step in stage.steps():
        rng = np.random.default_rng(step)
        split = ("base", "wide")[step % 2]
        faces = rng.choice(near[split], round(BATCH * NEAR_SHARE))
        others = rng.integers(len(splits[split]), size=BATCH - len(faces))
        chosen = np.sort(np.concatenate([faces, others]))
        pixels = to_pixels(splits[split][chosen])
        if rng.random() < 0.3:
            pixels = worn(pixels, rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(pixels.contiguous(memory_format=torch.channels_last))
        asked = {name: values[chosen] for name, values in wanted[split].items()}
        stage.descend(judge_loss({n: v.float() for n, v in logits.items()}, asked))
    return net.eval()


def write_tagger(net: TagNet, out: Path) -> None:
    """Write model.onnx and selected_tags.csv into the folder `out`."""
    write_atomic(out / "model.onnx", _exported(Tagger(net)))
    counts = Counter(tag for i in range(SPLITS["wide"]) for tag in true_tags(scene_of("wide", i)))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["tag_id", "name", "category", "count"])
    for number, tag in enumerate(TAGS):
        writer.writerow([number, tag.name.replace(" ", "_"), 0, counts[tag.name]])
    write_atomic(out / "selected_tags.csv", table.getvalue().encode())


def _exported(tagger: Tagger) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        torch.onnx.export(
            tagger,
            (torch.zeros(1, SIZE_PX, SIZE_PX, 3),),
            path,
            dynamo=False,  # the newer exporter needs onnxscript
            opset_version=17,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        )
        return _halved(path.read_bytes())


def _halved(network: bytes) -> bytes:
    """An ONNX network with its weights stored in float16; it still computes in float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_model_from_string(network)
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type == TensorProto.FLOAT and values.size > 256:
            name, stored = weight.name, f"{weight.name}_half"
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
            casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def measure(folder: Path, tagger: Path = PACKAGED, threshold: float = 0.35) -> None:
    """Print precision and recall by group of tags on the test split."""
    reader = Wd14(tagger)
    groups = {tag.name: tag.group for tag in TAGS}
    right, said, true = Counter[str](), Counter[str](), Counter[str]()
    whole, split = 0, pictures(folder, "test")
    for start in range(0, len(split), 50):
        seen = [(Image.fromarray(pixels),) for pixels in split[start : start + 50]]
        answers = reader.describe(seen)
        for index, answer in enumerate(answers, start):
            found = {tag.name for tag in answer.tags if tag.share >= threshold}
            wanted = true_tags(scene_of("test", index))
            whole += found == wanted
            said.update(groups[name] for name in found)
            true.update(groups[name] for name in wanted)
            right.update(groups[name] for name in found & wanted)
    print(f"{len(split)} held-out pictures, threshold {threshold}; all tags right: "
          f"{whole / len(split):.1%}")  # fmt: skip
    for group in (group for group in dict.fromkeys(groups.values()) if true[group]):
        precision, recall = right[group] / max(said[group], 1), right[group] / true[group]
        print(f"  {group:<12} precision {precision:6.1%}  recall {recall:6.1%}  of {true[group]}")
    precision, recall = right.total() / max(said.total(), 1), right.total() / true.total()
    print(f"  {'all':<12} precision {precision:6.1%}  recall {recall:6.1%}  of {true.total()}")


def _labels(split: str) -> dict[str, Tensor]:
    rows = [labels(scene_of(split, index)) for index in range(SPLITS[split])]
    return {name: torch.tensor([row[name] for row in rows]) for name in READS}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for pictures and the state of the training")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", type=Path, default=PACKAGED, help="where the tagger is written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    if given.minutes > 0:
        write_tagger(train_tagger(given.work, given.minutes), given.out)
    measure(given.work, given.out)


if __name__ == "__main__":
    main()
