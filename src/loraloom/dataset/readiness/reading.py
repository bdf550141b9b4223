"""Many pictures measured on all cores, one picture at a time a core."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2

from loraloom.dataset.readiness.picture import Measures, Unreadable, Wanted, measure
from loraloom.dataset.readiness.processors import cores

WORTH_A_POOL = 48
"""Fewer pictures are measured faster than processes start."""
CHUNK = 8

Answer = Measures | Unreadable


def measure_all(
    paths: Sequence[Path], wanted: Wanted, *, workers: int | None = None
) -> Iterator[Answer]:
    """An answer for each path, in order, as they come.

    A process holds one picture at a time and hands back 37 kB of it. If a decoder takes its
    process down, the pictures it had are tried again, each alone, and the guilty one is
    unreadable.
    """
    workers = workers or cores()
    if workers == 1 or len(paths) < WORTH_A_POOL:
        yield from (measure(path, wanted) for path in paths)
        return
    chunks = [paths[first : first + CHUNK] for first in range(0, len(paths), CHUNK)]
    while chunks:
        done = 0
        with _pool(workers) as pool:
            futures = [pool.submit(_measure_chunk, chunk, wanted) for chunk in chunks]
            try:
                for future in futures:
                    yield from future.result()
                    done += 1
            except BrokenProcessPool:
                pass
            finally:
                pool.shutdown(cancel_futures=True)
        if done < len(chunks):
            yield from (_measure_alone(path, wanted) for path in chunks[done])
        chunks = chunks[done + 1 :]


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _measure_chunk(paths: Sequence[Path], wanted: Wanted) -> list[Answer]:
    return [measure(path, wanted) for path in paths]


def _measure_alone(path: Path, wanted: Wanted) -> Answer:
    with _pool(1) as pool:
        try:
            return pool.submit(measure, path, wanted).result()
        except BrokenProcessPool:
            return Unreadable(f"{path.name}: opening it crashed the decoder; export it again")
