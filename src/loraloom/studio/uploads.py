"""Files on their way into the studio, in parts that can be taken up again.

uploads/ID.json   what the sender calls the file, and how long it will be; only ever text
uploads/ID.part   the bytes that have come; where the file ends is where the next part begins
"""

from __future__ import annotations

import fcntl
import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loraloom.dataset.source import shown_name
from loraloom.errors import DiskFull, UploadRefused, UploadTooLarge, UploadUnknown
from loraloom.files import telling_failures, write_atomic
from loraloom.settings import IntakeLimits
from loraloom.studio.rights import ALONE, Person, Visibility, check, may

KEPT_S = 24 * 3600.0
"""After so long without a byte an upload is abandoned."""
SWEPT_EVERY_S = 3600.0
IDLE_S = 3600.0
"""After so long without a byte an upload is given up where room is wanted."""
LONGEST_NAME = 1000
ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Upload:
    """One file that comes in parts."""

    id: str
    name: str
    """As the sender calls it, perhaps with folders; only to be shown and read."""
    size: int
    """Bytes that it will have."""
    offset: int
    """Bytes that have come."""
    owner_id: int | None = None
    """Who sends it; None: an owner of the studio."""

    @property
    def visibility(self) -> Visibility:
        """Nobody else's business."""
        return Visibility.PRIVATE

    @property
    def is_complete(self) -> bool:
        """Whether all has come."""
        return self.offset == self.size


@dataclass
class _Under:
    """What is under way."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sizes: dict[str, int] | None = None
    swept_s: float = 0.0


class Uploads:
    """All uploads of an installation, of which each person sees the own ones."""

    def __init__(
        self,
        root: Path,
        limits: Callable[[], IntakeLimits],
        person: Person = ALONE,
        under: _Under | None = None,
    ) -> None:
        self._root = root
        self._limits = limits
        self._person = person
        self._under = under or _Under()

    def seen_by(self, person: Person) -> Uploads:
        """The same as somebody sees them; what is begun is theirs."""
        return Uploads(self._root, self._limits, person, self._under)

    def begin(self, name: str, size: int) -> Upload:
        """Announce a file. Raises UploadTooLarge, DiskFull, Forbidden."""
        check(self._person, "add")
        under = self._under
        with under.lock:
            if time.monotonic() - under.swept_s > SWEPT_EVERY_S or under.sizes is None:
                under.sizes = self._sweep()
                under.swept_s = time.monotonic()
            return self._begin(name, size, under.sizes)

    def _begin(self, name: str, size: int, sizes: dict[str, int]) -> Upload:
        limits = self._limits()
        if size + sum(sizes.values()) > limits.total_bytes:
            raise UploadTooLarge(
                f"{shown_name(name)[:200]} has {size:,} bytes, and {limits.total_bytes >> 30} GiB "
                "may be on their way at once; send it in parts, or set LORALOOM_MAX_IMPORT_GIB."
            )
        if len(sizes) >= limits.files:
            raise UploadTooLarge(
                f"More than {limits.files:,} files are on their way; send them as a ZIP, or set "
                "LORALOOM_MAX_FILES."
            )
        with telling_failures(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._root).free
        if size > free:
            raise DiskFull(f"{size:,} bytes are to come, and the disk has room for {free:,}.")
        made = Upload(
            secrets.token_hex(16), shown_name(name)[:LONGEST_NAME], size, 0, self._person.id
        )
        with telling_failures(self._root):
            self._bytes(made.id).touch()
        about = {"name": made.name, "size": size, "owner": made.owner_id}
        write_atomic(self._about(made.id), json.dumps(about).encode(), durable=False)
        sizes[made.id] = size
        return made

    def get(self, upload: str) -> Upload:
        """Raises UploadUnknown."""
        try:
            if not ID.fullmatch(upload):
                raise ValueError(upload)
            about = json.loads(self._about(upload).read_text(encoding="utf-8"))
            if not may(self._person, "read", about.get("owner")):
                raise ValueError(upload)
            offset = self._bytes(upload).stat().st_size
        except (OSError, ValueError) as error:
            raise UploadUnknown(
                f"There is no upload {upload[:40]!r}; what nobody goes on with is removed after a "
                "day. Send the file again."
            ) from error
        return Upload(upload, about["name"], about["size"], offset, about.get("owner"))

    @contextmanager
    def appending(self, upload: str, offset: int) -> Iterator[Callable[[bytes], None]]:
        """Yields what takes the next bytes; what has come stays, whatever happens then.

        Raises UploadUnknown, UploadRefused where the bytes do not begin where the file ends, and
        UploadTooLarge where they go on behind its end.
        """
        known = self.get(upload)
        with telling_failures(self._bytes(upload)), self._bytes(upload).open("ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UploadRefused(
                    f"Another part of {known.name} is just coming; ask again where it goes on."
                ) from error
            at = stream.seek(0, 2)
            if at != offset:
                raise UploadRefused(f"{known.name} goes on at byte {at}, not at {offset}.")

            def take(piece: bytes) -> None:
                nonlocal at
                if at + len(piece) > known.size:
                    raise UploadTooLarge(
                        f"{known.name} was announced with {known.size:,} bytes, and more came."
                    )
                stream.write(piece)
                at += len(piece)

            yield take

    def path(self, upload: str) -> Path:
        """Where the bytes of a complete upload lie. Raises UploadUnknown, UploadRefused."""
        known = self.get(upload)
        if not known.is_complete:
            raise UploadRefused(
                f"{known.name} is not complete: {known.offset:,} of {known.size:,} bytes came."
            )
        return self._bytes(upload)

    def remove(self, upload: str) -> None:
        """Give an upload up, or be done with it. Raises UploadUnknown."""
        self.get(upload)
        with telling_failures(self._root):
            self._about(upload).unlink(missing_ok=True)
            self._bytes(upload).unlink(missing_ok=True)
        with self._under.lock:
            if self._under.sizes:
                self._under.sizes.pop(upload, None)

    def idle(self, used: Collection[str]) -> list[Upload]:
        """Those of people of whom no byte has come for an hour, less what is `used`."""
        newest_s = time.time() - IDLE_S
        found, sending = [], set()
        for path in sorted(self._root.glob("*.part")):
            with suppress(OSError, UploadUnknown):  # somebody else removed it, or it is another's
                upload = self.get(path.stem)
                found.append(upload)
                if path.stat().st_mtime >= newest_s:
                    sending.add(upload.owner_id)
        return [one for one in found if one.owner_id not in sending and one.id not in used]

    def give_up_idle(self, used: Collection[str]) -> int:
        """Remove those that are idle; their bytes."""
        freed = 0
        for upload in self.idle(used):
            with suppress(UploadUnknown):
                self.remove(upload.id)
                freed += upload.offset
        return freed

    def _sweep(self) -> dict[str, int]:
        """Remove what was abandoned; the sizes of what is left."""
        oldest_s = time.time() - KEPT_S
        sizes = {}
        everybodys = self.seen_by(ALONE)
        for path in self._root.glob("*.part"):
            with suppress(OSError, UploadUnknown):  # somebody else removed it
                if path.stat().st_mtime < oldest_s:
                    self._about(path.stem).unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                else:
                    sizes[path.stem] = everybodys.get(path.stem).size
        return sizes

    def _about(self, upload: str) -> Path:
        return self._root / f"{upload}.json"

    def _bytes(self, upload: str) -> Path:
        return self._root / f"{upload}.part"
