"""A run at real size: seconds a step, and memory against what the plan said before.

    python -m bench.real_size --model sdxl
    python -m bench.real_size --model flux --set gradient_checkpointing=true --compile

Random weights of the sizes of a published base, in bfloat16, made here (FLUX.1: 24 GB on the disk).
With `--compile` the denoiser is compiled by torch, so that two runs tell what that is worth; the
trainer itself never does.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch

from bench.bases import base_folder, picture_folder
from loraloom.config_tree import merge, parse_assignment
from loraloom.train import model, run
from loraloom.train.events import Finished, Planned, Step
from loraloom.train.machine import title
from loraloom.train.precision import choose_device
from loraloom.train.recipe import resolve

PREPARING = 5
"""The first steps, in which kernels are chosen or compiled."""


def compiled() -> None:
    """Let the trainer compile what it loads."""
    load = model.load

    def then_compile(*given: object) -> model.Model:
        made = load(*given)  # type: ignore[arg-type]
        made.parts.denoiser.compile()
        return made

    model.load = then_compile  # type: ignore[assignment]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="sdxl", help="sd15, sdxl, flux or a diffusers folder")
    parser.add_argument("--px", type=int, default=1024)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the base, to be used again")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V", dest="settings")
    given = parser.parse_args()
    if given.compile:
        compiled()
    with tempfile.TemporaryDirectory() as work:
        # In a process of its own, so that its memory does not count.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            base = pool.submit(base_folder, given.model, given.keep or Path(work)).result()
        tree = {
            "base": str(base), "kind": "object", "trigger": "ohwx thing",
            "data": {
                "folder": str(picture_folder(Path(work) / "pictures", 8, given.px)),
                "resolution_px": given.px, "held_out_fraction": 0.0,
            },
            "adapter": {"rank": given.rank, "alpha": given.rank}, "prior": {"images": 0},
            "schedule": {"steps": given.steps}, "checkpoint": {"every_steps": given.steps},
            "text_encoder": {"ratio": 0.0}, "samples": {"prompts": []},
            "validation": {"every_steps": 0},
        }  # fmt: skip
        changes = merge(*map(parse_assignment, given.settings))
        events = [*run(resolve(merge(tree, changes)), Path(work) / "run")]
    took = [event.seconds for event in events if isinstance(event, Step)][PREPARING:]
    (planned,) = (event for event in events if isinstance(event, Planned))
    (ended,) = (event for event in events if isinstance(event, Finished))
    print(f"{given.model}, {given.px} px, rank {given.rank}, {title(choose_device())}")
    print(f"torch {torch.__version__}, {'compiled' if given.compile else 'not compiled'}")
    print(f"{median(took):.3f} s a step ({min(took):.3f} to {max(took):.3f}, {len(took)} steps)")
    print(
        f"{ended.peak_mib:,} MiB at the most, {planned.peak_mib:,} MiB planned: "
        f"{ended.peak_mib / planned.peak_mib:.2f} times as much"
    )


if __name__ == "__main__":
    main()
