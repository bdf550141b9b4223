"""How fast `dataset check` is: pictures a second against decoding alone; 10,000 captions read
and 10,000 pictures compared.

    python -m bench.check_speed
    python -m bench.check_speed --pictures 200 --side 1024 --compared 10000

The limit is what Pillow needs to decode the same files on the same cores; no check can be faster.
Times are of the clock, and of the processors in brackets, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.photographs import photograph
from loraloom.captions.lint import Captioned, Check, lint
from loraloom.dataset import images
from loraloom.dataset.readiness.duplicates import find_pairs
from loraloom.dataset.readiness.picture import THUMB_PX, Wanted, make_thumb
from loraloom.dataset.readiness.processors import cores
from loraloom.dataset.readiness.reading import measure_all
from loraloom.kinds import Kind
from loraloom.starter.world.render import render
from loraloom.starter.world.scene import CHARACTERS, caption, identity_scene

DISTINCT = 12


def _cpu_s() -> float:
    used = [getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@contextmanager
def _timed(name: str, count: int) -> Iterator[None]:
    started, cpu_s = time.perf_counter(), _cpu_s()
    yield
    seconds, cpu_s = time.perf_counter() - started, _cpu_s() - cpu_s
    rate = f"{count / seconds:8.1f} pictures/s ({count / cpu_s:.1f} a CPU second)"
    print(f"{name:28} {seconds:7.1f} s ({cpu_s:.1f} CPU s) {rate}", flush=True)


def decode(paths: Sequence[Path]) -> int:
    """Open each picture as `dataset check` does, and nothing else."""
    return sum(images.open_rgb(path).width > 0 for path in paths)


def time_reading(folder: Path, pictures: int, side_px: int) -> None:
    """Decode alone, then measured without and with faces."""
    rng, draw = random.Random(0), photograph(side_px)
    drawn = [draw(rng)[0] for _ in range(DISTINCT)]
    paths = [folder / f"{number:05d}.jpg" for number in range(pictures)]
    for number, path in enumerate(paths):
        drawn[number % DISTINCT].save(path, quality=95)
    with _timed("decoding alone", pictures), ProcessPoolExecutor(cores()) as pool:
        list(pool.map(decode, [paths[first::8] for first in range(8)]))
    for name, faces in (("check", False), ("check with faces", True)):
        with _timed(name, pictures):
            answers = list(measure_all(paths, Wanted(side_px, count_faces=faces)))
        assert len(answers) == pictures


def strangers(count: int) -> NDArray[np.uint8]:
    """Thumbs of smooth noise: no two alike."""
    rng = np.random.default_rng(0)
    thumbs = np.empty((count, THUMB_PX, THUMB_PX, 4), np.uint8)
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 12, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((THUMB_PX, THUMB_PX), Image.Resampling.BICUBIC)
        thumbs[number] = make_thumb(np.asarray(picture))
    return thumbs


def one_character(count: int) -> NDArray[np.uint8]:
    """Thumbs of one character of the starter world in many scenes: much alike, the hard case."""
    rng = random.Random(0)
    scenes = (identity_scene(CHARACTERS[0], rng) for _ in range(count))
    return np.stack([make_thumb(render(scene, 128)) for scene in scenes])


SETS: dict[str, Callable[[int], NDArray[np.uint8]]] = {
    "strangers compared": strangers,
    "one character compared": one_character,
}


def time_lint(count: int) -> None:
    """Captions of the starter world, each of its own, read by the caption check."""
    rng = random.Random(0)
    check = Check(Kind.CHARACTER, CHARACTERS[0].trigger)
    captions = [
        Captioned(str(number), caption(identity_scene(CHARACTERS[0], rng), check.trigger))
        for number in range(count)
    ]
    with _timed("captions checked", count):
        lint(captions, check)


def main() -> None:
    """Print one line a measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--compared", type=int, default=10_000)
    given = parser.parse_args()
    print(f"{cores()} cores, JPEG of {given.side} × {given.side} px")
    with tempfile.TemporaryDirectory() as work:
        time_reading(Path(work), given.pictures, given.side)
    time_lint(given.compared)
    for name, make in SETS.items():
        thumbs = make(given.compared)
        hashes = [str(number) for number in range(len(thumbs))]
        with _timed(name, len(thumbs)):
            pairs = find_pairs(thumbs, hashes)
        print(f"{'':28} {len(pairs)} pairs of copies told")


if __name__ == "__main__":
    main()
