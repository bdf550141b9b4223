"""Copies of one picture among many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loraloom.dataset.readiness.alignment import Start
from loraloom.dataset.readiness.processors import cores
from loraloom.dataset.readiness.remainder import remainder
from loraloom.dataset.readiness.signature import Signatures, lightness, luma, signatures, variants

ALIKE = 0.8
"""Cosine of two signatures from which a pair is looked at closely."""
LOOKED_AT = 4
"""The most alike partners of each picture that are looked at closely."""
SAME = 0.36
"""Pictures that differ by less, in their worst tile, are copies (see remainder.py)."""
BLOCK = 1024
TOLD_EVERY = 100

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pair:
    """Two pictures by their places in the list."""

    first: int
    second: int
    difference: float
    mirrored: bool


@dataclass(frozen=True)
class _Candidate:
    first: int
    second: int
    alike: float
    start: Start


def find_pairs(
    thumbs: NDArray[np.uint8], hashes: Sequence[str], progress: Progress | None = None
) -> list[Pair]:
    """Every pair of copies that is found, `first` < `second`.

    `thumbs`: (N, S, S, 4), as picture.Measures has them; `hashes`: of the files. 10,000 pictures
    take 36 matrix products of 10,000 × 80 and then a closer look at each candidate.
    """
    pairs = {(pair.first, pair.second): pair for pair in _same_files(hashes)}
    candidates = _candidates(thumbs)

    def look(candidate: _Candidate) -> float:
        return remainder(thumbs[candidate.first], thumbs[candidate.second], candidate.start)

    with ThreadPoolExecutor(cores()) as pool:  # OpenCV and BLAS let go of the interpreter
        looked_at = zip(candidates, pool.map(look, candidates), strict=True)
        for number, (candidate, left) in enumerate(looked_at, start=1):
            first, second = sorted((candidate.first, candidate.second))
            if left < SAME and (first, second) not in pairs:
                pairs[first, second] = Pair(first, second, left, candidate.start.mirrored)
            if progress and (number % TOLD_EVERY == 0 or number == len(candidates)):
                progress(number, len(candidates))
    return sorted(pairs.values(), key=lambda pair: (pair.first, pair.second))


def groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """Pictures that are copies of each other, directly or by a third."""
    leader: dict[int, int] = {}

    def lead(picture: int) -> int:
        while leader.setdefault(picture, picture) != picture:
            picture = leader[picture]
        return picture

    for pair in pairs:
        a, b = lead(pair.first), lead(pair.second)
        leader[max(a, b)] = min(a, b)
    members: dict[int, list[int]] = defaultdict(list)
    for picture in sorted(leader):
        members[lead(picture)].append(picture)
    return list(members.values())


def _same_files(hashes: Sequence[str]) -> Iterator[Pair]:
    seen: dict[str, int] = {}
    for number, name in enumerate(hashes):
        first = seen.setdefault(name, number)
        if first != number:
            yield Pair(first, number, 0.0, False)


def _candidates(thumbs: NDArray[np.uint8]) -> list[_Candidate]:
    """Pairs that look alike from afar, the most alike first."""
    whole = np.concatenate(
        [signatures(lightness(thumbs[i : i + BLOCK])) for i in range(0, len(thumbs), BLOCK)]
    )
    best: dict[tuple[int, int, bool], _Candidate] = {}
    for first in range(0, len(thumbs), BLOCK):
        for found in _block_candidates(thumbs[first : first + BLOCK], whole, first):
            pair = sorted((found.first, found.second))
            key = (pair[0], pair[1], found.start.mirrored)
            if key not in best or found.alike > best[key].alike:
                best[key] = found
    return sorted(best.values(), key=lambda found: (-found.alike, found.first, found.second))


def _block_candidates(
    thumbs: NDArray[np.uint8], whole: Signatures, offset: int
) -> Iterator[_Candidate]:
    """For each picture of the block, the LOOKED_AT others that some cut of it is most alike."""
    rows, others, scores, ways = [], [], [], []
    for way, ours in enumerate(_guises(thumbs)):
        alike = ours @ whole.T
        alike[np.arange(len(ours)), offset + np.arange(len(ours))] = 0  # itself
        found = np.flatnonzero(alike > ALIKE)
        rows.append(found // len(whole))
        others.append(found % len(whole))
        scores.append(alike.ravel()[found])
        ways.append(np.full(len(found), way % len(variants())))
    row, other = np.concatenate(rows), np.concatenate(others)
    score, way_of = np.concatenate(scores), np.concatenate(ways)
    # Of each pair the best way and the best mirrored one: a symmetric picture is alike in both.
    turned = np.array([mirrored for _, _, mirrored in variants()])[way_of]
    partner = other * 2 + turned
    order = np.lexsort((-score, partner, row))
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (np.diff(row[order]) != 0) | (np.diff(partner[order]) != 0)
    order = order[fresh]
    order = order[np.lexsort((-score[order], row[order]))]
    place = np.arange(len(order)) - np.searchsorted(row[order], row[order])
    for index in order[place < LOOKED_AT]:
        start = Start(*variants()[way_of[index]])
        yield _Candidate(offset + int(row[index]), int(other[index]), float(score[index]), start)


def _guises(thumbs: NDArray[np.uint8]) -> Iterator[Signatures]:
    """What copies of the pictures would look like: cut or mirrored, then the first of them grey."""
    planes = lightness(thumbs)
    for x, y, mirrored in variants():
        yield signatures(planes, x=x, y=y, mirrored=mirrored)
    for x, y, mirrored in variants()[:2]:
        yield signatures(luma(thumbs), x=x, y=y, mirrored=mirrored)
