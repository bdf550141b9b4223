"""Each kind of adapter on the bases of each family: trained, resumed, saved, drawn with elsewhere.

diffusers itself loads LoRA and DoRA; the other kinds go into its pipelines through peft's folders.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from PIL import Image
from tests import tiny, tiny_families
from tests.tiny_families import distance

from loraloom import families, train
from loraloom.adapters import file
from loraloom.config import TrainConfig
from loraloom.config_tree import merge
from loraloom.families.base import Family
from loraloom.generate.session import Generator, Request
from loraloom.train import loop, model
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
BASES = (
    "sd15", "sd21", "sdxl", "kolors", "sd3", "flux", "flux2", "chroma", "z_image", "qwen_image",
    "wan", "wan_5b", "wan22", "hunyuan_video", "hunyuan_video15", "cogvideox", "cogvideox_5b",
    "cogvideox_15",
)  # fmt: skip
REQUEST = Request("zk person, a hat", 1, guidance=3.0, steps=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("types")


def _base(folder: Path, base: str) -> Path:
    path = folder / base
    return path if path.exists() else tiny_families.save(base, path)


def _config(folder: Path, base: str, kind: str, **overrides: Any) -> TrainConfig:
    pictures = folder / "pictures"
    if not pictures.exists():
        tiny.save_pictures(pictures, 4)
    rate = {"lora": 0.03, "dora": 0.03, "loha": 0.1}.get(kind, 0.3)
    # Convolutions too, of all but OFT, which has none.
    targets = "full" if base == "sd15" and kind != "oft" else "blocks"
    tree = {
        "adapter": {"type": kind, "targets": targets, "rank": None, "alpha": None, **TYPES[kind]},
        "schedule": {"steps": 4, "warmup_steps": 0, "name": "constant"},
        "optimiser": {"learning_rate": rate},
        "checkpoint": {"every_steps": 3},
        "validation": {"every_steps": 4, "timesteps": [0.5]},
        "text_encoder": {"learning_rate": rate},
    }
    return tiny.config(_base(folder, base), pictures, **merge(tree, overrides))


@pytest.mark.each_time(*(f"flux-{kind}" for kind in TYPES))
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("base", ["sd15", "flux"])
def test_a_kind_is_trained_resumed_saved_and_drawn_alike(
    folder: Path, tmp_path: Path, base: str, kind: str
) -> None:
    family = families.detect(_base(folder, base))
    ratio = 0.5 if family.info.trained_encoders else 0.0
    config = _config(folder, base, kind, text_encoder={"ratio": ratio})
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

    ours = Generator(_base(folder, base))
    plain = ours.film([REQUEST])[0]
    pictures = []
    for path in sorted(out.glob("adapter*.safetensors")):
        ours.load_adapter(path, path.stem)
        ours.set_scales({path.stem: 1.0})
        pictures.append(ours.film([REQUEST])[0])
        assert distance(pictures[0], pictures[-1]) <= 1
    assert distance(pictures[0], plain) > 3
    ours.set_scales({})
    assert distance(ours.film([REQUEST])[0], plain) == 0
    assert distance(pictures[0], _elsewhere(_base(folder, base), family, kind, out)) <= 1


@pytest.mark.matrix
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("base", BASES)
def test_each_family_learns_each_kind_and_leaves_its_base_alone(
    folder: Path, tmp_path: Path, base: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new family is covered by its row."""
    family, lives, load = families.detect(_base(folder, base)), list[model.Model](), model.load
    monkeypatch.setattr(loop.model, "load", lambda *given: lives.append(load(*given)) or lives[-1])
    config = _config(
        folder, base, kind, schedule={"steps": 20}, batch_size=1, validation={"every_steps": 0},
        checkpoint={"every_steps": 20}, data={"held_out_fraction": 0.0},
    )  # fmt: skip
    list(train.run(config, tmp_path))

    (live,) = lives
    named = {n.replace(".base_layer.", "."): p for n, p in live.parts.denoiser.named_parameters()}
    own = family.expert(config.expert) if config.expert else family
    before = dict(own.load(_base(folder, base), only=["denoiser"]).denoiser.named_parameters())
    assert all(torch.equal(named[name], weight) for name, weight in before.items())
    trained = {name.removeprefix("denoiser/") for name in live.trained}
    assert trained and trained.isdisjoint(before)
    assert {name for name, weight in named.items() if weight.requires_grad} == trained
    assert all(weight.grad is None for name, weight in named.items() if name not in trained)

    ours = Generator(_base(folder, base))
    plain = ours.film([REQUEST])[0]
    ours.load_adapter(tmp_path / "adapter.safetensors", "own")
    with_it = ours.film([REQUEST])[0]
    assert distance(with_it, plain) > 3
    assert distance(with_it, _elsewhere(_base(folder, base), family, kind, tmp_path)) <= 1


def _elsewhere(base: Path, family: Family, kind: str, out: Path) -> list[Image.Image]:
    """The frames that a fresh pipeline of diffusers draws."""
    pipe = tiny_families.pipeline(base)
    pipe.set_progress_bar_config(disable=True)
    if kind in ("lora", "dora"):
        named = out / "adapter-diffusers.safetensors"
        tiny_families.load_lora(pipe, named if named.exists() else out / "adapter.safetensors")
    else:
        for part in sorted((out / "adapter-peft").iterdir()):
            before = getattr(pipe, part.name)
            added = PeftModel.from_pretrained(before, str(part))
            setattr(pipe, part.name, added.base_model.model.eval())
    return tiny_families.drawn(pipe, family, REQUEST)
