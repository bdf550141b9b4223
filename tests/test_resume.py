"""A run that is killed at any moment and goes on leaves the same bytes as one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests import tiny

from loraloom import train
from loraloom.config import to_toml

ROOT = Path(__file__).parent.parent
PROGRAM = """
import sys
from pathlib import Path
from loraloom import config, train
settings = config.validate(config.read_toml(Path(sys.argv[1])))
for event in train.run(settings, Path(sys.argv[2]), resume=True):
    print(event.to_json(), flush=True)
"""


def _artefacts(out: Path) -> dict[str, bytes]:
    files = [*out.glob("*.safetensors"), *out.glob("adapters/*"), *out.glob("prior/*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def _run_until(settings: Path, out: Path, lines: int | None, patience: float) -> int:
    """Run the program; kill it that many seconds after that many lines. Returns its status."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(settings), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for number, _ in enumerate(process.stdout, start=1):
        if number == lines:
            break
    if lines is not None:
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_bytes_are_equal_over_kills(tmp_path: Path, seed: int) -> None:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures")
    config = tiny.config(
        base, pictures,
        schedule={"steps": 12},
        text_encoder={"ratio": 0.5},
        prior={"images": 3, "steps": 2},
        adapter={"dropout": 0.1},
        data={"mirror": True, "shuffle_tags": True},
        checkpoint={"every_steps": 2},
    )  # fmt: skip
    settings = tmp_path / "settings.toml"
    settings.write_text(to_toml(config))
    assert _run_until(settings, tmp_path / "whole", None, 0) == 0

    draw = random.Random(seed)
    killed = [
        _run_until(settings, tmp_path / "killed", draw.randrange(3, 30), draw.random() * 0.3)
        for _ in range(3)
    ]
    assert -signal.SIGKILL in killed
    assert _run_until(settings, tmp_path / "killed", None, 0) == 0
    assert _artefacts(tmp_path / "killed") == _artefacts(tmp_path / "whole")


@pytest.mark.parametrize("stop_after", [2, 3, 5])
def test_bytes_are_equal_over_each_step(tmp_path: Path, stop_after: int) -> None:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures")
    config = tiny.config(base, pictures, text_encoder={"ratio": 0.5}, checkpoint={"every_steps": 1})
    list(train.run(config, tmp_path / "whole"))
    events = train.run(config, tmp_path / "stopped")
    for event in events:
        if isinstance(event, train.events.Saved) and event.step == stop_after:
            break
    events.close()  # type: ignore[attr-defined]
    list(train.run(config, tmp_path / "stopped", resume=True))
    assert _artefacts(tmp_path / "stopped") == _artefacts(tmp_path / "whole")
