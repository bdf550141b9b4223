"""The server's workbench, at hand for routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from loraloom.dataset.stored import StoredDataset
from loraloom.studio.workbench import Workbench
from loraloom.web.who import StudioNow, entry

Name = Annotated[str, Path(alias="dataset", min_length=1, max_length=100)]
Sha = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


def workbench(request: Request) -> Workbench:
    """That of the application, as whoever asks sees it."""
    found: Workbench = request.app.state.workbench
    return found.seen_by(entry(request).person)


def dataset(studio: StudioNow, name: Name) -> StoredDataset:
    """The dataset that a path names. Raises DatasetUnknown."""
    return studio.datasets.open(name)


BenchNow = Annotated[Workbench, Depends(workbench)]
DatasetNow = Annotated[StoredDataset, Depends(dataset)]
