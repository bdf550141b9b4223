"""Each kind of adapter on bases of each build: trained, resumed, saved, drawn with elsewhere.

diffusers itself loads LoRA and DoRA; the other kinds go into its pipelines through peft's folders.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import PeftModel
from PIL import Image
from tests import tiny, tiny_families

from loraloom import families, train
from loraloom.adapters import file
from loraloom.config import TrainConfig
from loraloom.generate.session import Generator, Request
from loraloom.train.events import Saved

TYPES: dict[str, dict[str, Any]] = {
    "lora": {"rank": 3, "alpha": 4.0, "rslora": True, "plus_ratio": 4.0, "init": "pissa",
             "ranks": {"to_q": 2}},
    "loha": {"rank": 3, "alpha": 4.0, "ranks": {"to_q": 2}},
    "lokr": {"rank": 3, "alpha": 4.0, "factor": 4},
    "dora": {"rank": 3, "alpha": 4.0},
    "oft": {"block_size": 4},
    "boft": {"block_size": 4},
}  # fmt: skip
ROWS = [(family, kind) for family in ("sd15", "flux") for kind in TYPES]
MORE = [("sdxl", "dora"), ("qwen_image", "loha"), ("sd3", "lokr")]
MORE += [(family, kind) for family in ("flux2", "hunyuan_video15") for kind in TYPES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("types")


def _base(folder: Path, family: str) -> Path:
    path = folder / family
    return path if path.exists() else tiny_families.save(family, path)


def _config(folder: Path, family: str, kind: str) -> TrainConfig:
    pictures = folder / "pictures"
    if not pictures.exists():
        tiny.save_pictures(pictures, 4)
    info = families.get(family).info
    adapter = {"type": kind, "targets": "blocks", "rank": None, "alpha": None, **TYPES[kind]}
    rate = 0.3 if kind in ("lokr", "loha", "oft", "boft") else 0.03
    return tiny.config(
        _base(folder, family), pictures, adapter=adapter,
        schedule={"steps": 4, "warmup_steps": 0, "name": "constant"},
        optimiser={"learning_rate": rate}, checkpoint={"every_steps": 3},
        validation={"every_steps": 4, "timesteps": [0.5]},
        text_encoder={"ratio": 0.5 if info.trained_encoders else 0.0, "learning_rate": rate},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "kind"), [*ROWS, *(pytest.param(*row, marks=pytest.mark.slow) for row in MORE)]
)
def test_a_kind_is_trained_resumed_saved_and_drawn_alike(
    folder: Path, tmp_path: Path, family: str, kind: str
) -> None:
    config = _config(folder, family, kind)
    out, killed = tmp_path / "out", tmp_path / "killed"
    for event in train.run(config, out):
        if isinstance(event, Saved) and event.step == 3:
            shutil.copytree(out, killed)
    list(train.run(config, killed, resume=True))
    files = sorted(out.glob("**/adapter*.safetensors"))
    assert files and all(
        path.read_bytes() == (killed / path.relative_to(out)).read_bytes() for path in files
    )
    assert file.inspect(out / "adapter.safetensors").type == kind

    request = Request("zk person, a hat", 1, guidance=3.0, steps=2)
    base = _base(folder, family)
    ours = Generator(base)
    plain = ours.generate([request])[0]
    pictures = []
    for path in sorted(out.glob("adapter*.safetensors")):
        ours.load_adapter(path, path.stem)
        ours.set_scales({path.stem: 1.0})
        pictures.append(ours.generate([request])[0])
        assert _distance(pictures[0], pictures[-1]) <= 1
    assert _distance(pictures[0], plain) > 3
    ours.set_scales({})
    assert _distance(ours.generate([request])[0], plain) == 0
    assert _distance(pictures[0], _elsewhere(base, family, kind, out, request)) <= 1


def _elsewhere(base: Path, family: str, kind: str, out: Path, request: Request) -> Image.Image:
    """The picture that a fresh pipeline of diffusers draws."""
    pipe = tiny_families.pipeline(base)
    pipe.set_progress_bar_config(disable=True)
    if kind in ("lora", "dora"):
        named = out / "adapter-diffusers.safetensors"
        tiny_families.load_lora(pipe, named if named.exists() else out / "adapter.safetensors")
    else:
        for part in sorted((out / "adapter-peft").iterdir()):
            before = getattr(pipe, part.name)
            model = PeftModel.from_pretrained(before, str(part))
            setattr(pipe, part.name, model.base_model.model.eval())
    return tiny_families.drawn(pipe, families.get(family), request)[0]


def _distance(a: Image.Image, b: Image.Image) -> float:
    left, right = (np.asarray(picture, dtype=np.int16) for picture in (a, b))
    return float(np.abs(left - right).max())
