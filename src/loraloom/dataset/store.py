"""Datasets kept in the data folder: plain files, no database.

    datasets/NAME/objects/ab/ab12…     pictures, byte for byte, by their SHA-256
    datasets/NAME/working/000007.json  states of the working set; HEAD names the one that holds
    datasets/NAME/snapshots/HASH.json  states that never change
    datasets/.bin/                     removed datasets, for 30 days
    datasets/.locks/                   one process at a time changes a dataset

Every file is there whole or not at all: written beside, synced, renamed. HEAD is renamed last, so a
process may be killed at any moment and the dataset is as it was before, or as it is after.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loraloom import settings
from loraloom.dataset.lock import locked
from loraloom.dataset.snapshot import check_name, folder_name
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetNameInvalid, DatasetUnknown
from loraloom.files import sync_folder, telling_failures

BIN_DAYS = 30


class Store:
    """All datasets of an installation."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or settings.data_folder() / "datasets"

    def names(self) -> list[str]:
        """Datasets by name."""
        return sorted(head.parent.parent.name for head in self.root.glob("[!.]*/working/HEAD"))

    def has(self, name: str) -> bool:
        """Whether there is a dataset of that name."""
        return name == folder_name(name) and (self.root / name / "working" / "HEAD").is_file()

    def open(self, name: str) -> StoredDataset:
        """Raises DatasetUnknown, naming what there is."""
        if not self.has(name):
            known = ", ".join(self.names()) or "none yet; loraloom dataset import makes one"
            raise DatasetUnknown(f"There is no dataset {name!r}. Datasets: {known}.")
        return StoredDataset(self.root / name, self._lock_path(name))

    def place(self, name: str) -> StoredDataset:
        """The dataset of that name, there or to be made by the first import.

        Raises DatasetNameInvalid.
        """
        check_name(name, "dataset")
        for other in self.names():
            if other.casefold() == name.casefold() and other != name:
                raise DatasetNameInvalid(f"There is a dataset {other!r}; {name!r} is too near.")
        return StoredDataset(self.root / name, self._lock_path(name))

    def create(self, name: str) -> StoredDataset:
        """An empty dataset of that name. Raises DatasetNameInvalid."""
        made = self.place(name)
        if self.has(name):
            raise DatasetNameInvalid(f"There is a dataset {name!r} already; choose another name.")
        made.make()
        return made

    def remove(self, name: str) -> Path:
        """Put a dataset into the bin, where it stays for 30 days; returns where."""
        self.open(name)
        with self._bin() as folder, locked(self._lock_path(name), f"The dataset {name}"):
            target = folder / f"{name}@{time.time_ns()}"
            with telling_failures(target):
                (self.root / name).rename(target)
                sync_folder(folder)
                sync_folder(self.root)
        return target

    def recover(self, name: str, removed: Path | None = None) -> StoredDataset:
        """Take a removed dataset of that name out of the bin, the last one where none is said.

        Raises DatasetUnknown, or DatasetNameInvalid where another has its name by now.
        """
        with self._bin() as folder, locked(self._lock_path(name), f"The dataset {name}"):
            kept = [path for path in self.removed() if path.name.rpartition("@")[0] == name]
            kept = [path for path in kept if removed in (None, path)]
            if not kept:
                raise DatasetUnknown(f"There is no removed dataset {name!r} in {folder}.")
            if self.has(name):
                raise DatasetNameInvalid(f"There is a dataset {name!r} again; remove it first.")
            with telling_failures(kept[-1]):
                shutil.rmtree(self.root / name, ignore_errors=True)  # half-made, by a killed import
                kept[-1].rename(self.root / name)
                sync_folder(self.root)
        return self.open(name)

    def removed(self) -> list[Path]:
        """What the bin holds, oldest first."""
        found = (self.root / ".bin").glob("*@*")
        return sorted(found, key=lambda path: int(path.name.rpartition("@")[2]))

    @contextmanager
    def _bin(self) -> Iterator[Path]:
        """The bin, emptied of what is older than 30 days."""
        folder = self.root / ".bin"
        with telling_failures(folder):
            folder.mkdir(parents=True, exist_ok=True)
        oldest_ns = time.time_ns() - BIN_DAYS * 24 * 3600 * 10**9
        for path in self.removed():
            if int(path.name.rpartition("@")[2]) < oldest_ns:
                shutil.rmtree(path, ignore_errors=True)
        yield folder

    def _lock_path(self, name: str) -> Path:
        return self.root / ".locks" / f"{name}.lock"
