"""A run that is killed at any moment and goes on leaves the same bytes as one that was not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import tiny

from loraloom import train
from loraloom.config_tree import to_toml
from loraloom.train.events import Event, Sampled, Saved, Step

PROGRAM = """
import sys
from pathlib import Path
from loraloom import config_tree, train
settings = config_tree.validate(config_tree.read_toml(Path(sys.argv[1])))
for event in train.run(settings, Path(sys.argv[2]), resume=True):
    print(event.to_json(), flush=True)
"""


def _artefacts(out: Path) -> dict[str, bytes]:
    files = [*out.glob("*.safetensors"), *out.glob("adapters/*"), *out.glob("prior/*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def _kill(settings: Path, out: Path, lines: int, delay_s: float) -> int:
    """Run the program, kill it so long after so many lines; its status."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(settings), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    for _ in zip(range(lines), process.stdout, strict=False):
        pass
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


@pytest.mark.slow
def test_bytes_are_equal_over_kills(tmp_path: Path) -> None:
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
    list(train.run(config, tmp_path / "whole"))

    draw = random.Random(0)
    out = tmp_path / "killed"
    # First among the class pictures and latents, then among the first and the later steps.
    status = [_kill(settings, out, draw.randint(*lines), draw.random() / 20)
              for lines in ((2, 12), (8, 11), (8, 11))]  # fmt: skip
    assert -signal.SIGKILL in status
    list(train.run(config, out, resume=True))
    assert _artefacts(out) == _artefacts(tmp_path / "whole")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR2")
def test_samples_and_a_save_in_between_change_no_number(tmp_path: Path) -> None:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures")
    config = tiny.config(
        base, pictures,
        text_encoder={"ratio": 0.5},
        adapter={"dropout": 0.1},
        data={"mirror": True},
        samples={"prompts": ["zk person"], "steps": 2, "every_steps": 100},
        validation={"every_steps": 4},
        checkpoint={"every_steps": 100},
    )  # fmt: skip
    list(train.run(config, tmp_path / "whole"))
    whole = _artefacts(tmp_path / "whole")

    def asked(out: Path) -> Iterator[Event]:
        for event in train.run(config, out):
            yield event
            if isinstance(event, Step) and event.step == 2:
                signal.raise_signal(signal.SIGUSR2)
            if isinstance(event, Step) and event.step == 3:
                signal.raise_signal(signal.SIGURG)

    told = list(asked(tmp_path / "asked"))
    assert [event.step for event in told if isinstance(event, Sampled)] == [0, 2, 6]
    assert [event.step for event in told if isinstance(event, Saved)] == [3, 6]
    found = _artefacts(tmp_path / "asked")
    assert found.keys() - whole.keys() == {"adapters/step-000003.safetensors"}
    assert {name: found[name] for name in whole} == whole
    # And what was saved in between is what a run goes on from.
    events = asked(tmp_path / "cut")
    for event in events:
        if isinstance(event, Saved):
            break
    events.close()  # type: ignore[attr-defined]
    list(train.run(config, tmp_path / "cut", resume=True))
    assert {name: _artefacts(tmp_path / "cut")[name] for name in whole} == whole


@pytest.mark.parametrize("stop_after", [2, 3, 5])
def test_bytes_are_equal_over_each_step(tmp_path: Path, stop_after: int) -> None:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures")
    config = tiny.config(
        base, pictures,
        text_encoder={"ratio": 0.5},
        adapter={"dropout": 0.1},
        checkpoint={"every_steps": 1},
    )  # fmt: skip
    list(train.run(config, tmp_path / "whole"))
    events = train.run(config, tmp_path / "stopped")
    for event in events:
        if isinstance(event, Saved) and event.step == stop_after:
            break
    events.close()  # type: ignore[attr-defined]
    list(train.run(config, tmp_path / "stopped", resume=True))
    assert _artefacts(tmp_path / "stopped") == _artefacts(tmp_path / "whole")
