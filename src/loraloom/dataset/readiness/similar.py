"""Which pictures of a dataset look like one of them, from what its last check has measured."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loraloom.dataset.readiness.signature import signatures
from loraloom.files import write_atomic

MOST = 8
BLOCK = 1024


def write_looks(place: Path, thumbs: Mapping[str, NDArray[np.uint8]]) -> None:
    """Keep what pictures look like from afar; `thumbs`: SHA-256 -> (S, S, 4), see Measures."""
    rows = [
        _looks(np.stack(list(thumbs.values())[first : first + BLOCK]))
        for first in range(0, len(thumbs), BLOCK)
    ]
    buffer = io.BytesIO()
    looks = np.concatenate(rows) if rows else np.zeros((0, 1))
    np.savez(buffer, shas=np.array([*thumbs], "U64"), looks=looks.astype(np.float16))
    write_atomic(place, buffer.getvalue(), durable=False)


def most_alike(
    place: Path, sha256: str, among: Collection[str], count: int = MOST
) -> dict[str, float] | None:
    """SHA-256 -> cosine of what they look like, the most alike first; of those in `among`.

    None where nothing is kept, or not of this picture.
    """
    try:
        with np.load(place, allow_pickle=False) as kept:
            shas, looks = kept["shas"], kept["looks"].astype(np.float32)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    (own,) = np.nonzero(shas == sha256)
    if not len(own):
        return None
    alike = np.minimum(looks @ looks[own[0]], 1)
    best = [n for n in np.argsort(-alike, kind="stable") if n != own[0] and shas[n] in among]
    return {str(shas[n]): float(alike[n]) for n in best[:count]}


def _looks(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, D), each row of length 1: the signatures of red, green and blue side by side."""
    planes = [signatures(thumbs[..., channel].astype(np.float32)) for channel in range(3)]
    return np.asarray(np.concatenate(planes, axis=1) / np.sqrt(3), np.float32)
