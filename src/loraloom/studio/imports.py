"""What was uploaded on its way into a dataset: looked at first, then stored or left."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field

from loraloom.dataset import intake
from loraloom.dataset.intake import Uncaptioned
from loraloom.dataset.snapshot import Concept, Picture
from loraloom.dataset.staging import NOT_SKIPPABLE, Intake
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import LoraloomError, UploadRefused, UploadUnknown
from loraloom.findings import Finding, Severity
from loraloom.settings import IntakeLimits
from loraloom.studio.datasets import Datasets
from loraloom.studio.decoders import Decoders
from loraloom.studio.rights import ALONE, Person, Visibility, may
from loraloom.studio.thumbs import Thumbs
from loraloom.studio.uploads import Uploads

_LOG = logging.getLogger("loraloom.studio")
SHOWN = 120
"""New pictures that a preview has small copies of."""
KEPT_S = 24 * 3600.0


@dataclass(frozen=True)
class Preview:
    """What an import would bring, or has brought."""

    pictures: tuple[Picture, ...] = ()
    known: int = 0
    junk: int = 0
    layout: str = ""
    concepts: tuple[Concept, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def errors(self) -> list[Finding]:
        """What is not stored as it is."""
        return [finding for finding in self.findings if finding.severity is Severity.ERROR]

    @property
    def is_sound(self) -> bool:
        """Whether all of it can be stored."""
        return bool(self.pictures or self.known) and not self.errors

    @property
    def rest_can_be_stored(self) -> bool:
        """Whether something is broken that can be left out."""
        return bool(self.errors and self.pictures) and not any(
            finding.code in NOT_SKIPPABLE for finding in self.errors
        )


@dataclass
class Import:
    """One import and how far it is."""

    id: str
    dataset: str
    uploads: tuple[str, ...]
    uncaptioned: Uncaptioned
    begun_s: float = field(default_factory=time.time)
    stage: str = "looking"
    """looking, looked, storing, stored or failed."""
    done: int = 0
    total: int = 0
    preview: Preview = field(default_factory=Preview)
    error: str = ""
    owner_id: int | None = None
    """Who began it; None: an owner of the studio."""

    @property
    def visibility(self) -> Visibility:
        """Nobody else's business."""
        return Visibility.PRIVATE

    @property
    def is_busy(self) -> bool:
        """Whether something is still being done."""
        return self.stage in ("looking", "storing")


class Imports:
    """Imports of an installation, of which each person sees the own ones.

    Those of a server that ended begin anew.
    """

    def __init__(
        self,
        store: Datasets,
        uploads: Uploads,
        decoders: Decoders,
        thumbs: Thumbs,
        limits: Callable[[], IntakeLimits],
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._decoders = decoders
        self._thumbs = thumbs
        self._limits = limits
        self._person = ALONE
        self._lock = threading.Lock()
        self._all: dict[str, Import] = {}

    def seen_by(self, person: Person) -> Imports:
        """The same as somebody sees them; what is begun is theirs."""
        seen = copy(self)  # with the same lock, and the same imports
        seen._person = person
        seen._store = self._store.seen_by(person)
        seen._uploads = self._uploads.seen_by(person)
        return seen

    def begin(
        self, dataset: str, uploads: Sequence[str], uncaptioned: Uncaptioned = "keep"
    ) -> Import:
        """Look at what was uploaded, in the background.

        Raises DatasetNameInvalid, UploadUnknown, UploadRefused.
        """
        self._store.place(dataset)
        if not uploads:
            raise UploadRefused("No file was chosen; choose a ZIP, pictures or a folder.")
        for upload in uploads:
            self._uploads.path(upload)
        one = Import(secrets.token_hex(8), dataset, tuple(uploads), uncaptioned)
        one.owner_id = self._person.id
        with self._lock:
            for known in list(self._all.values()):
                if known.begun_s < time.time() - KEPT_S and not known.is_busy:
                    del self._all[known.id]
            self._all[one.id] = one
        self._start(one, store=False, skip_broken=False)
        return one

    def get(self, number: str) -> Import:
        """Raises UploadUnknown."""
        with self._lock:
            one = self._all.get(number)
        if one is not None and may(self._person, "read", one.owner_id):
            return one
        raise UploadUnknown(
            "This import is not known any more: it was given up, or the studio was started anew. "
            "Choose the files again."
        )

    def uploads(self) -> set[str]:
        """What any import is made of."""
        with self._lock:
            return {upload for one in self._all.values() for upload in one.uploads}

    def look_again(self, number: str, uncaptioned: Uncaptioned) -> None:
        """Look once more, with another choice for pictures without caption."""
        one = self._turn(number, "looking")
        one.uncaptioned = uncaptioned
        self._start(one, store=False, skip_broken=False)

    def store(self, number: str, *, skip_broken: bool = False) -> None:
        """Store it, in the background. Raises UploadUnknown, UploadRefused."""
        one = self._turn(number, "storing")
        self._start(one, store=True, skip_broken=skip_broken)

    def give_up(self, number: str) -> Import:
        """Remove what was uploaded for it. Raises UploadUnknown."""
        one = self.get(number)
        self._remove_uploads(one)
        with self._lock:
            self._all.pop(number, None)
        return one

    def run(
        self,
        dataset: str,
        uploads: Sequence[str],
        *,
        uncaptioned: Uncaptioned = "keep",
        skip_broken: bool = False,
        store: bool = False,
    ) -> Preview:
        """Look, store if so wanted, and wait for it. Raises what `intake.store` does."""
        one = Import("", self._store.place(dataset).name, tuple(uploads), uncaptioned)
        self._work(one, store=store, skip_broken=skip_broken)
        return one.preview

    def _turn(self, number: str, stage: str) -> Import:
        one = self.get(number)
        with self._lock:
            if one.is_busy or one.stage == "stored":
                raise UploadRefused("This import is being worked on, or done already.")
            one.stage, one.error = stage, ""
        return one

    def _start(self, one: Import, *, store: bool, skip_broken: bool) -> None:
        def work() -> None:
            try:
                self._work(one, store=store, skip_broken=skip_broken)
            except LoraloomError as error:
                one.error, one.stage = str(error), "looked" if one.preview.pictures else "failed"
            except Exception:  # noqa: BLE001 - the outermost edge of a thread
                _LOG.exception("an import into %s broke off", one.dataset)
                one.error = "Loraloom made a mistake here, and its log has the details."
                one.stage = "failed"

        threading.Thread(target=work, daemon=True).start()

    def _work(self, one: Import, *, store: bool, skip_broken: bool) -> None:
        stored = self._store.place(one.dataset)
        files = [(self._uploads.get(upload).name, self._uploads.path(upload))
                 for upload in one.uploads]  # fmt: skip
        listing = intake.list_uploads(files, self._limits())

        def progress(done: int, total: int) -> None:
            one.done, one.total = done, total

        with (
            stored.changing(),
            self._decoders.lent() as check,
            intake.examine(
                stored, listing, uncaptioned=one.uncaptioned, check=check, progress=progress
            ) as found,
        ):
            one.preview = _preview(found)
            if store:
                self._store.claim(stored)
                intake.store(stored, found, skip_broken=skip_broken)
            else:
                self._copy_small(found, stored)
        one.stage = "stored" if store else "looked"
        if store:
            self._remove_uploads(one)

    def _copy_small(self, found: Intake, stored: StoredDataset) -> None:
        for picture in found.pictures[:SHOWN]:
            staged = found.staged.get(picture.sha256, stored.objects.path(picture.sha256))
            self._thumbs.of(picture, staged)

    def _remove_uploads(self, one: Import) -> None:
        for upload in one.uploads:
            try:
                self._uploads.remove(upload)
            except UploadUnknown:
                continue


def _preview(found: Intake) -> Preview:
    return Preview(
        tuple(found.pictures), found.known, found.junk, found.layout, found.concepts,
        tuple(found.findings),
    )  # fmt: skip
