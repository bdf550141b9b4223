"""Pictures byte for byte, each found by the SHA-256 of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from loraloom.errors import DatasetDamaged
from loraloom.files import sync_folder, telling_failures


class Objects:
    """A folder of files named by their content."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where the object lies, or would."""
        return self.root / sha256[:2] / sha256

    def take(self, staged: Iterable[tuple[str, Path]]) -> None:
        """Move complete, synced files in, each under its hash."""
        folders = set()
        for sha256, path in staged:
            final = self.path(sha256)
            with telling_failures(final):
                final.parent.mkdir(parents=True, exist_ok=True)
                path.replace(final)
            folders.add(final.parent)
        for folder in folders:
            sync_folder(folder)

    def is_sound(self, sha256: str) -> bool:
        """Whether the object is there and is what its name says."""
        try:
            self.verify(sha256, "")
        except DatasetDamaged:
            return False
        return True

    def verify(self, sha256: str, name: str) -> None:
        """Raise DatasetDamaged unless the bytes are those that were stored."""
        try:
            with self.path(sha256).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise DatasetDamaged(
                f"{name}: the stored picture {sha256[:12]} cannot be read ({error.strerror}); "
                "import it again."
            ) from error
        if found != sha256:
            raise DatasetDamaged(
                f"{name}: the stored picture {sha256[:12]} is not what was stored; import it again."
            )
