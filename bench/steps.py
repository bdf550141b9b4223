"""Steps a second and peak memory: ours, the plain loop, and the floor.

    python -m bench.steps --model starter --px 128 --batch 1,4
    python -m bench.steps --model sd15 --px 256 --batch 1

Each measurement is a process of its own, so that one's memory and caches do not reach another;
rounds go ours, plain, floor, ours, … so that a busy moment of the machine hits all of them. The
floor is the UNet's forward pass alone, in the precision that ours uses: no trainer can be faster.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from bench.bases import base_folder, picture_folder
from bench.plain_loop import PlainLoop, Setup
from loraloom import families
from loraloom.train import run
from loraloom.train.events import Step
from loraloom.train.precision import choose_device, choose_dtype
from loraloom.train.recipe import resolve

Measured = dict[str, float]


def ours(setup: Setup, out: Path) -> list[float]:
    """Seconds of each step of `loraloom train`, with the yardstick's rank and targets."""
    config = resolve(
        {
            "base": str(setup.base),
            "kind": "object",
            "trigger": "ohwx thing",
            "batch_size": setup.batch_size,
            "data": {
                "folder": str(setup.folder),
                "resolution_px": setup.side_px,
                "held_out_fraction": 0.0,
            },
            "adapter": {"rank": setup.rank, "alpha": setup.rank, "targets": "attention"},
            "schedule": {"steps": setup.steps},
            "prior": {"images": 0},
            "text_encoder": {"ratio": 0.0},
            "validation": {"every_steps": 0},
            "samples": {"prompts": []},
            "checkpoint": {"every_steps": setup.steps},
        }
    )
    return [event.seconds for event in run(config, out) if isinstance(event, Step)]


def plain(setup: Setup, out: Path) -> list[float]:
    """Seconds of each step of the yardstick."""
    return [step.seconds for step in PlainLoop(setup).steps()]


def floor(setup: Setup, out: Path) -> list[float]:
    """Seconds of each forward pass of the denoiser."""
    family, device = families.detect(setup.base), choose_device()
    dtype = choose_dtype("auto", device)
    parts = family.load(setup.base, only=("denoiser", "vae"), dtype=dtype, device=device)
    latent = family.latent_format(parts.vae)
    parts.denoiser.to(memory_format=torch.channels_last)
    side = setup.side_px // latent.factor
    x = torch.randn(setup.batch_size, latent.channels, side, side, dtype=dtype, device=device)
    width = parts.denoiser.config.cross_attention_dim
    context = torch.randn(setup.batch_size, 77, width, dtype=dtype, device=device)
    t = torch.full((setup.batch_size,), 0.5, device=device)
    seconds = []
    with torch.inference_mode():
        for _ in range(setup.steps):
            started = time.perf_counter()
            family.predict(parts.denoiser, x, t, {"context": context}).float().sum().item()
            seconds.append(time.perf_counter() - started)
    return seconds


VARIANTS: dict[str, Callable[[Setup, Path], list[float]]] = {
    "ours": ours,
    "plain": plain,
    "floor": floor,
}


def measure(variant: str, setup: Setup) -> Measured:
    """In this very process: the median step after the first three, and the peak of memory."""
    with tempfile.TemporaryDirectory() as out:
        seconds = VARIANTS[variant](setup, Path(out) / "run")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {"step_s": median(seconds[3:]), "ram_mib": peak_kib / 1024, "gpu_mib": on_gpu / 2**20}


def in_own_process(variant: str, setup: Setup) -> Measured:
    """`measure` in a fresh process."""
    command = [
        *(sys.executable, "-m", "bench.steps", "--child", variant),
        *("--base", str(setup.base), "--folder", str(setup.folder), "--px", str(setup.side_px)),
        *("--batch", str(setup.batch_size), "--steps", str(setup.steps)),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{variant} failed:\n{done.stderr}")
    measured: Measured = json.loads(done.stdout.splitlines()[-1])
    return measured


def table(results: dict[str, list[Measured]]) -> str:
    """One line a variant: the median over the rounds, and ours as a ratio."""
    step_s = {name: median(m["step_s"] for m in rounds) for name, rounds in results.items()}
    lines = ["variant    s/step  steps/s  spread   RAM MiB  GPU MiB  ours is"]
    for name, rounds in results.items():
        times = [m["step_s"] for m in rounds]
        spread = (max(times) - min(times)) / step_s[name]
        ram, gpu = (max(m[key] for m in rounds) for key in ("ram_mib", "gpu_mib"))
        lines.append(
            f"{name:8} {step_s[name]:8.4f} {1 / step_s[name]:8.2f} {spread:7.0%} {ram:9,.0f} "
            f"{gpu:8,.0f}  {step_s[name] / step_s['ours']:.2f} x as fast"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print one table a batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="starter", help="starter, sd15 or a diffusers folder")
    parser.add_argument("--px", type=int, default=128)
    parser.add_argument("--batch", default="1", help="one size, or several: 1,4")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        setup = Setup(a.base, a.folder, a.px, int(a.batch), a.steps)
        print(json.dumps(measure(a.child, setup)))
        return
    with tempfile.TemporaryDirectory() as work:
        base = base_folder(a.model, Path(work))
        folder = picture_folder(Path(work) / "pictures", 16, a.px)
        for batch in map(int, a.batch.split(",")):
            setup = Setup(base, folder, a.px, batch, a.steps)
            results: dict[str, list[Measured]] = {name: [] for name in VARIANTS}
            for _ in range(a.rounds):
                for name in VARIANTS:
                    results[name].append(in_own_process(name, setup))
            print(f"\n{a.model}, {a.px} px, batch {batch}, {torch.get_num_threads()} threads")
            print(table(results), flush=True)


if __name__ == "__main__":
    main()
