"""Likeness reached against wall time: ours and the plain loop, each at its own defaults.

    python -m bench.likeness --subject Mira --seeds 5

Both train on the same 30 pictures of a held-out character on the starter base. The clock runs from
the call to each saved adapter, all preparation included (loading, caching, class pictures);
drawing and judging the snapshots is not on it. The judge reads each adapter's pictures of contexts
that are not in the set.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from bench.exam import examine
from bench.plain_loop import PlainLoop, Setup
from loraloom.settings import resolve_base
from loraloom.starter.demo import character
from loraloom.starter.example import write_example
from loraloom.starter.world.scene import Identity
from loraloom.train import recipe, run
from loraloom.train.events import Finished, Validated

Snapshot = tuple[float, Path]
"""Seconds since the call, adapter file."""


def ours(identity: Identity, folder: Path, out: Path, seed: int, seconds: float) -> list[Snapshot]:
    """`loraloom train` with the defaults of the base and the kind."""
    begun = time.monotonic()
    config = recipe.resolve(
        {
            "trigger": identity.trigger,
            "data": {"folder": str(folder)},
            "seed": seed,
            "samples": {"prompts": []},
        }
    )
    snapshots: list[Snapshot] = []
    for event in run(config, out):
        match event:
            case Validated():
                path = out / "adapters" / f"step-{event.step:06d}.safetensors"
                snapshots.append((time.monotonic() - begun, path))
            case Finished():
                snapshots.append((time.monotonic() - begun, event.adapter))
    return snapshots


def plain(identity: Identity, folder: Path, out: Path, seed: int, seconds: float) -> list[Snapshot]:
    """The plain loop with the defaults of diffusers' example, for as long as ours took."""
    begun = time.monotonic()
    loop = PlainLoop(Setup(resolve_base("starter"), folder, 128, 4, 1_000_000, seed=seed))
    snapshots: list[Snapshot] = []
    for step in loop.steps():
        passed = time.monotonic() - begun
        if passed > (len(snapshots) + 1) * seconds / 8:
            snapshots.append((passed, loop.save(out / f"{step.step}")))
        if passed > seconds:
            return snapshots
    return snapshots


def measure(
    identity: Identity, seeds: int, pictures: int
) -> Iterator[tuple[str, int, float, float, float]]:
    """(trainer, seed, seconds, likeness, bleed) of every snapshot."""
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "pictures"
            write_example(folder, identity)
            limit = 0.0
            trainers: dict[str, Callable[..., list[Snapshot]]] = {"ours": ours, "plain": plain}
            for name, train in trainers.items():
                snapshots = train(identity, folder, Path(work) / name, seed, limit)
                limit = snapshots[-1][0]
                for seconds, path in snapshots:
                    marks = examine(identity, path, pictures)
                    yield name, seed, seconds, marks.likeness, marks.bleed


def main() -> None:
    """Print each snapshot as it is judged, then the medians of the last ones."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subject", default="Mira")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=24)
    given = parser.parse_args()
    last: dict[tuple[str, int], tuple[float, float, float]] = {}
    print("trainer  seed  seconds  likeness  bleed")
    for name, seed, *found in measure(character(given.subject), given.seeds, given.pictures):
        print(f"{name:7} {seed:5} {found[0]:8.1f} {found[1]:9.1%} {found[2]:6.1%}", flush=True)
        last[name, seed] = (found[0], found[1], found[2])
    for name in ("ours", "plain"):
        ends = [values for (trainer, _), values in last.items() if trainer == name]
        seconds, alike, bled = (median(column) for column in zip(*ends, strict=True))
        print(f"{name}: median likeness {alike:.1%}, bleed {bled:.1%} after {seconds:.0f} s")


if __name__ == "__main__":
    main()
