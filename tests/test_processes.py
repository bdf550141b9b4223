"""Two processes with half the batch each take the steps of one with all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests import tiny, tiny_families
from torch import nn

from loraloom import train
from loraloom.config import TrainConfig
from loraloom.config_tree import to_toml
from loraloom.errors import ConfigInvalid
from loraloom.train import sharded
from loraloom.train.processes import Processes

PROGRAM = """
import sys
from pathlib import Path
from loraloom import config_tree, train
settings = config_tree.validate(config_tree.read_toml(Path(sys.argv[1])))
for event in train.run(settings, Path(sys.argv[2])):
    print(event.to_json(), flush=True)
"""


def test_shares_are_the_whole() -> None:
    places = list(range(6))
    shares = [places[Processes(number, 3).share(6)] for number in range(3)]
    assert shares == [[0, 1], [2, 3], [4, 5]]
    assert places[Processes().share(6)] == places


def _run_two(config: TrainConfig, folder: Path) -> None:
    """Train in two processes, into the folder "two"."""
    settings, program = folder / "settings.toml", folder / "program.py"
    settings.write_text(to_toml(config))
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run(
        [*command, str(program), str(settings), str(folder / "two")],
        capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_equal_one_with_the_double_batch(tmp_path: Path) -> None:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures")
    more = {
        "accumulation": 2, "text_encoder": {"ratio": 0.5}, "data": {"mirror": True},
        "prior": {"images": 2, "steps": 2}, "schedule": {"steps": 4, "warmup_steps": 0},
    }  # fmt: skip
    one = tiny.config(base, pictures, batch_size=4, **more)
    two = tiny.config(base, pictures, batch_size=2, **more)
    list(train.run(one, tmp_path / "one"))

    _run_two(two, tmp_path)
    alone = load_file(tmp_path / "one/adapter.safetensors")
    together = load_file(tmp_path / "two/adapter.safetensors")
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=2e-3, atol=2e-6)
    lines = (tmp_path / "two/events.jsonl").read_text().splitlines()
    steps = [e for e in map(json.loads, lines) if e["event"] == "step"]
    lines = (tmp_path / "one/events.jsonl").read_text().splitlines()
    losses = [e["loss"] for e in map(json.loads, lines) if e["event"] == "step"]
    assert [e["loss"] for e in steps] == pytest.approx(losses, rel=1e-4)
    facts = json.loads((tmp_path / "two/run.json").read_text())["identity"]
    assert facts["processes"] == "2"


@pytest.mark.matrix
def test_a_base_that_is_shared_out_trains_alike(tmp_path: Path) -> None:
    """Two processes with half of a transformer each, checkpointing, validation and samples."""
    base = tiny_families.save("flux", tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures", 5)
    more = {
        "schedule": {"steps": 4, "warmup_steps": 0}, "gradient_checkpointing": True,
        "samples": {"prompts": ["zk person"], "every_steps": 4, "steps": 2},
    }  # fmt: skip
    one = tiny.config(base, pictures, batch_size=4, **more)
    list(train.run(one, tmp_path / "one"))
    _run_two(tiny.config(base, pictures, batch_size=2, shard_base=True, **more), tmp_path)
    alone = load_file(tmp_path / "one/adapter.safetensors")
    together = load_file(tmp_path / "two/adapter.safetensors")
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=2e-3, atol=2e-6)
    drawn = [
        np.asarray(Image.open(tmp_path / run / "samples/step-000004-0.png"), np.int16)
        for run in ("one", "two")
    ]
    assert np.abs(drawn[0] - drawn[1]).max() <= 2


def test_a_block_is_what_repeats_and_each_process_holds_its_part() -> None:
    blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 8)])
    model = nn.ModuleDict({"first": nn.Linear(2, 2), "blocks": blocks})
    assert sharded.blocks(model) == [*blocks]
    # A quarter of the whole, and twice the largest block's 40 numbers in float32.
    assert sharded.held_bytes(model, 1000, 4) == 250 + 2 * (4 * 8 + 8) * 4


def test_a_base_cannot_be_shared_out_alone(tmp_path: Path) -> None:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "p")
    with pytest.raises(ConfigInvalid, match="no effect in one process: start several with torchr"):
        list(train.run(tiny.config(base, pictures, shard_base=True), tmp_path / "run"))
    with pytest.raises(ConfigInvalid, match='with quantisation = "int8" is not possible'):
        tiny.config(base, pictures, shard_base=True, quantisation="int8")
    with pytest.raises(ConfigInvalid, match="needs class pictures that are drawn already"):
        tiny.config(base, pictures, shard_base=True, prior={"images": 2})
