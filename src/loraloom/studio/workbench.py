"""What a server keeps at hand: uploads, imports, small copies, checks, bases on their way."""

from __future__ import annotations

from copy import copy

from loraloom.settings import intake_limits
from loraloom.studio.additions import Additions
from loraloom.studio.checks import Checks
from loraloom.studio.decoders import Decoders
from loraloom.studio.imports import Imports
from loraloom.studio.rights import Person
from loraloom.studio.studio import Studio
from loraloom.studio.thumbs import Thumbs
from loraloom.studio.uploads import Uploads


class Workbench:
    """One for each server."""

    def __init__(self, studio: Studio) -> None:
        cache = studio.data / "cache"
        self.cache = cache
        self.store = studio.datasets
        self.decoders = Decoders()
        self.thumbs = Thumbs(cache / "thumbs", self.decoders)
        self.uploads = Uploads(studio.data / "uploads", intake_limits)
        self.imports = Imports(
            self.store, self.uploads, self.decoders, self.thumbs, intake_limits
        )  # fmt: skip
        self.checks = Checks(cache / "measures")
        self.additions = Additions()

    def seen_by(self, person: Person) -> Workbench:
        """With the uploads, imports and datasets as somebody sees them."""
        seen = copy(self)
        seen.store = self.store.seen_by(person)
        seen.uploads = self.uploads.seen_by(person)
        seen.imports = self.imports.seen_by(person)
        return seen

    def close(self) -> None:
        """End the child processes."""
        self.checks.close()
        self.additions.close()
        self.decoders.close()
