"""Pictures turned by quarters, with their masks and crops.

The turned picture is a new file, so that earlier states and versions keep the one they had.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from PIL import Image

from loraloom.dataset import images, masks
from loraloom.dataset.snapshot import Box, Picture, alike_pair
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import DatasetUnknown, RotationRefused
from loraloom.files import sync_file, telling_failures

_TURNS = {
    1: Image.Transpose.ROTATE_270,  # Pillow counts against the clock
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_90,
}
Content = Literal["picture", "mask"]


class Turn(Protocol):
    """Writes what lies at `path` to `target`, turned; see `turn_here`."""

    def __call__(
        self, path: Path, name: str, target: Path, quarters: int, content: Content
    ) -> None: ...


def turn_here(path: Path, name: str, target: Path, quarters: int, content: Content) -> None:
    """By 1 to 3 quarters clockwise, as PNG: what training reads of it. Raises ImageUnreadable."""
    image = (
        masks.to_image(masks.read(path, name))
        if content == "mask"
        else images.decode_rgb(images.read_bytes(path), name, first_frame=True)
    )
    with telling_failures(target):
        image.transpose(_TURNS[quarters]).save(target, "PNG")


def rotate(
    stored: StoredDataset, shas: Collection[str], quarters: int, turn: Turn = turn_here
) -> dict[str, Picture]:
    """Turn pictures, named by SHA-256, by so many quarters clockwise; it can be undone.

    No quality is lost. Returns what each has become. Raises DatasetUnknown, RotationRefused,
    ImageUnreadable.
    """
    with stored.changing(), stored.staging() as folder:
        contents = stored.working
        present = {picture.sha256: picture for picture in contents.pictures}
        if missing := sorted({*shas} - present.keys()):
            raise DatasetUnknown(f"{stored.name} has no picture {missing[0][:12]}.")
        if quarters % 4 == 0:
            return {sha256: present[sha256] for sha256 in shas}
        work = _Work(stored, quarters % 4, turn, folder)
        turned = {sha256: work.turned(present[sha256]) for sha256 in shas}
        there = dict(present)
        for sha256, picture in turned.items():
            other = there.get(picture.sha256)
            if other and other.sha256 != sha256:  # one that looks the same turned is itself
                raise RotationRefused(
                    f"{present[sha256].name}: rotated it is the same as {other.name}, which is in "
                    "the dataset too; take one of them out."
                )
            there[picture.sha256] = present[sha256]
        stored.objects.take(work.staged.items())
        now = tuple(turned.get(picture.sha256, picture) for picture in contents.pictures)
        new = {sha256: picture.sha256 for sha256, picture in turned.items()}
        alike = tuple(alike_pair(new.get(a, a), new.get(b, b)) for a, b in contents.alike)
        stored.put(replace(contents, pictures=now, alike=alike), f"rotated {len(turned)} pictures")
    return turned


@dataclass
class _Work:
    stored: StoredDataset
    quarters: int
    turn: Turn
    folder: Path
    staged: dict[str, Path] = field(default_factory=dict)

    def turned(self, picture: Picture) -> Picture:
        """What the picture becomes; its files are staged."""
        if picture.is_clip:
            raise RotationRefused(f"{picture.name}: is a clip; only pictures can be rotated.")
        width_px, height_px = picture.width_px, picture.height_px
        if self.quarters % 2:
            width_px, height_px = height_px, width_px
        return replace(
            picture,
            sha256=self._file(picture.sha256, picture.name, "picture"),
            mask=picture.mask and self._file(picture.mask, picture.name, "mask"),
            name=str(PurePosixPath(picture.name).with_suffix(".png")),
            kind="PNG",
            width_px=width_px,
            height_px=height_px,
            crop=picture.crop and self._box(picture.crop, (picture.width_px, picture.height_px)),
        )

    def _file(self, sha256: str, name: str, content: Content) -> str:
        self.stored.objects.verify(sha256, name)
        made = self.folder / f"{content}-{sha256}.png"
        self.turn(self.stored.objects.path(sha256), name, made, self.quarters, content)
        sync_file(made)
        with made.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.staged[digest] = made
        return digest

    def _box(self, box: Box, size_px: tuple[int, int]) -> Box:
        """Where a part of the picture lies then."""
        left, top, width, height = box
        for _ in range(self.quarters):
            left, top, width, height = size_px[1] - top - height, left, height, width
            size_px = size_px[1], size_px[0]
        return left, top, width, height
