"""Does a long run stay as fast and as small as it began?

    python -m bench.steady --steps 2000

Trains on the starter base with validation and checkpoints as by default, and prints the median
step and the memory held (resident set, Linux) along the way, then the last stretch as a ratio to
the first.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.bases import picture_folder
from loraloom.train import run
from loraloom.train.events import Step
from loraloom.train.recipe import resolve

STRETCH = 200


@dataclass(frozen=True)
class Stretch:
    """The `STRETCH` steps that end at `step`."""

    step: int
    step_s: float
    rss_mib: float


def stretches(steps: int, work: Path) -> Iterator[Stretch]:
    """Train for `steps`, and tell of each stretch."""
    config = resolve(
        {
            "base": "starter",
            "kind": "object",
            "trigger": "ohwx thing",
            "batch_size": 1,
            "data": {"folder": str(picture_folder(work / "pictures", 24, 128))},
            "schedule": {"steps": steps},
            "prior": {"images": 0},
            "samples": {"prompts": []},
        }
    )
    seconds: list[float] = []
    for event in run(config, work / "run"):
        if isinstance(event, Step):
            seconds.append(event.seconds)
            if event.step % STRETCH == 0:
                yield Stretch(event.step, median(seconds[-STRETCH:]), rss_mib())


def rss_mib() -> float:
    """Memory that this process holds now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    if steps < 2 * STRETCH:
        parser.error(f"--steps {steps} is too short to compare: at least {2 * STRETCH}")
    told: list[Stretch] = []
    print("   step   s/step  RSS MiB")
    with tempfile.TemporaryDirectory() as work:
        for stretch in stretches(steps, Path(work)):
            told.append(stretch)
            print(f"{stretch.step:7} {stretch.step_s:8.4f} {stretch.rss_mib:8,.0f}", flush=True)
    first, last = told[0], told[-1]
    print(
        f"last to first: {last.step_s / first.step_s:.2f} x the time, "
        f"{last.rss_mib / first.rss_mib:.2f} x the memory"
    )


if __name__ == "__main__":
    main()
