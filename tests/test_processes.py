"""Two processes with half the batch each take the steps of one with all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests import tiny

from loraloom import train
from loraloom.config_tree import to_toml
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

    settings, program = tmp_path / "settings.toml", tmp_path / "program.py"
    settings.write_text(to_toml(two))
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run(
        [*command, str(program), str(settings), str(tmp_path / "two")],
        capture_output=True, text=True, timeout=540, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
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
