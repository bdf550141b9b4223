"""Whose each stored dataset is, and the datasets as somebody may see and change them.

datasets/NAME/owner.json says whose it is, so that it goes into the bin and back with it. Where it
is not there, the dataset belongs to the owners of the studio.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loraloom.config import Tree
from loraloom.dataset.store import Store
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetNameInvalid, DatasetUnknown
from loraloom.files import write_atomic
from loraloom.studio.rights import ALONE, Action, Person, Visibility, check, may

FILE = "owner.json"


@dataclass(frozen=True)
class Belonging:
    """Whose a dataset is, and who else may read it."""

    owner_id: int | None = None
    visibility: Visibility = Visibility.PRIVATE
    project_id: int | None = None


class Datasets:
    """All datasets of an installation: others' private ones are not there, new ones are one's own.

    Who changes the dataset that `open` gives must ask `open_to_change` instead.
    """

    def __init__(self, store: Store, person: Person = ALONE) -> None:
        self.person = person
        self._store = store

    def seen_by(self, person: Person) -> Datasets:
        """The same as somebody sees and may change them."""
        return Datasets(self._store, person)

    def names(self) -> list[str]:
        """Datasets by name."""
        return [name for name in self._store.names() if self._may("read", self._root(name))]

    def has(self, name: str) -> bool:
        """Whether there is a dataset of that name that the person may read."""
        return self._store.has(name) and self._may("read", self._root(name))

    def is_free(self, name: str) -> bool:
        """Whether nobody has a dataset of that name."""
        return not self._store.has(name)

    def open(self, name: str) -> StoredDataset:
        """To read it. Raises DatasetUnknown, naming what there is."""
        if not self.has(name):
            known = ", ".join(self.names()) or "none yet; loraloom dataset import makes one"
            raise DatasetUnknown(f"There is no dataset {name[:200]!r}. Datasets: {known}.")
        return self._store.open(name)

    def open_to_change(self, name: str) -> StoredDataset:
        """Raises DatasetUnknown, Forbidden."""
        found = self.open(name)
        self._check(name)
        return found

    def is_own(self, name: str) -> bool:
        """Whether there is a dataset of that name that the person may change."""
        return self._store.has(name) and self._may("change", self._root(name))

    def belonging(self, name: str) -> Belonging:
        """Whose it is."""
        return _read(self._root(name))

    def place(self, name: str) -> StoredDataset:
        """The dataset of that name to be changed, there or to be made by the first import.

        Raises DatasetNameInvalid, Forbidden.
        """
        check(self.person, "add")
        found = self._store.place(name)
        if self._store.has(name):
            if not self.has(name):
                raise DatasetNameInvalid(f"The name {name!r} is taken; choose another.")
            self._check(name)
        return found

    def claim(self, stored: StoredDataset) -> None:
        """Before the first import makes it, and while it is locked: it is the person's.

        Raises DatasetNameInvalid, Forbidden where it is somebody else's by now.
        """
        self.place(stored.name)
        if not self._store.has(stored.name):
            self._write(stored.name, Belonging(self.person.id))

    def create(self, name: str) -> StoredDataset:
        """An empty dataset of that name. Raises DatasetNameInvalid, Forbidden."""
        check(self.person, "add")
        made = self._store.create(name)
        self._write(name, Belonging(self.person.id))
        return made

    def share(self, name: str, visibility: Visibility) -> Belonging:
        """Say who else may read it. Raises DatasetUnknown, Forbidden."""
        self.open_to_change(name)
        told = replace(self.belonging(name), visibility=visibility)
        self._write(name, told)
        return told

    def put(self, name: str, project: int | None) -> None:
        """Into a project, or out of all. Raises DatasetUnknown, Forbidden."""
        self.open_to_change(name)
        self._write(name, replace(self.belonging(name), project_id=project))

    def by_project(self) -> dict[int, list[str]]:
        """Project -> those in it that the person may read, by name."""
        found: dict[int, list[str]] = {}
        for name in self.names():
            project = self.belonging(name).project_id
            if project is not None:
                found.setdefault(project, []).append(name)
        return found

    def project_of(self, tree: Tree) -> int | None:
        """That of the first dataset that settings of a run name and that is in one."""
        names = [folder.partition("@")[0] for folder in folders(tree)]
        found = (self.belonging(name).project_id for name in names if self.has(name))
        return next((project for project in found if project is not None), None)

    def remove(self, name: str) -> Path:
        """Into the bin. Raises DatasetUnknown, Forbidden."""
        self.open_to_change(name)
        return self._store.remove(name)

    def removed(self) -> list[Path]:
        """What of the person's the bin holds, oldest first."""
        return [path for path in self._store.removed() if self._may("change", path)]

    def recover(self, name: str) -> StoredDataset:
        """The person's last removed one of that name. Raises DatasetUnknown, DatasetNameInvalid."""
        kept = [path for path in self.removed() if path.name.rpartition("@")[0] == name]
        if not kept:
            raise DatasetUnknown(f"There is no removed dataset {name[:200]!r} in the bin.")
        return self._store.recover(name, kept[-1])

    def _root(self, name: str) -> Path:
        return self._store.root / name

    def _may(self, action: Action, root: Path) -> bool:
        if self.person.is_owner:
            return True
        told = _read(root)
        return may(self.person, action, told.owner_id, told.visibility)

    def _check(self, name: str) -> None:
        told = self.belonging(name)
        check(self.person, "change", told.owner_id, told.visibility)

    def _write(self, name: str, told: Belonging) -> None:
        tree = {
            "owner": told.owner_id, "visibility": told.visibility, "project": told.project_id
        }  # fmt: skip
        folder = self._root(name)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / FILE, json.dumps(tree).encode())


def folders(tree: Tree) -> list[str]:
    """Where settings of a run say that the pictures are, whatever their shape."""
    data = tree.get("data")
    data = data if isinstance(data, Mapping) else {}
    concepts = data.get("concepts")
    concepts = concepts if isinstance(concepts, Sequence) else ()
    found = [one.get("folder") for one in (data, *concepts) if isinstance(one, Mapping)]
    return [str(folder) for folder in found if folder]


def _number(told: object) -> int | None:
    return None if told is None else int(str(told))


def _read(root: Path) -> Belonging:
    try:
        tree = json.loads((root / FILE).read_text(encoding="utf-8"))
        return Belonging(
            _number(tree["owner"]), Visibility(tree["visibility"]), _number(tree.get("project"))
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Belonging()
