"""One picture through all that is asked for: cut, masked, enlarged, fitted."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loraloom.dataset import crops, images, masks, notes
from loraloom.dataset.buckets import Bucket, Crop, apply_crop, plan_crop
from loraloom.dataset.prepare import subject
from loraloom.dataset.prepare.entries import Entry
from loraloom.dataset.prepare.plan import Plan
from loraloom.dataset.prepare.target import Target
from loraloom.dataset.prepare.upscale import Enlarge
from loraloom.dataset.snapshot import Box
from loraloom.errors import CropInvalid, ImageUnreadable
from loraloom.findings import Finding

MUCH_ENLARGED = 1.05
NOT_LEARNT, TINT = (96, 72, 160), 0.72
"""Colour and strength of the veil over what a mask leaves out, in the preview."""
LANCZOS = Image.Resampling.LANCZOS


@dataclass
class Work:
    """A picture on its way; the mask has always its size."""

    name: str
    image: Image.Image
    mask: NDArray[np.uint8] | None
    changed: bool = False
    """Whether the pixels are no longer those of the file."""
    new_mask: bool = False
    """Whether the mask is not the one that came along."""
    face: Box | None = None
    frame: Crop | None = None
    """How it fits its bucket."""
    thumb: Image.Image | None = None
    findings: list[Finding] = field(default_factory=list)

    def warn(self, code: str, message: str, fix: str = "") -> None:
        """Something that the user should know of this picture."""
        self.findings.append(notes.warning(code, self.name, message, fix))

    def put_mask(self, mask: NDArray[np.uint8]) -> None:
        """Another mask."""
        self.mask, self.new_mask = mask, True

    def cut(self, box: Box) -> None:
        """Keep the part in `box`."""
        left, top, width, height = box
        if (left, top, width, height) == (0, 0, *self.image.size):
            return
        self.image = self.image.crop((left, top, left + width, top + height))
        if self.mask is not None:
            self.mask = self.mask[top : top + height, left : left + width]
        self.changed = True

    def resize(self, size_px: tuple[int, int]) -> None:
        """Bring picture and mask to (width, height)."""
        if size_px == self.image.size:
            return
        self.image = self.image.resize(size_px, LANCZOS)
        self._follow()

    def put(self, image: Image.Image) -> None:
        """An enlarged picture in its place."""
        self.image = image
        self._follow()

    def fit(self, crop: Crop) -> None:
        """Scale and cut to the bucket."""
        if (crop.original_width_px, crop.original_height_px) == (
            crop.bucket.width_px,
            crop.bucket.height_px,
        ):
            return
        if self.mask is not None:
            grey = apply_crop(Image.fromarray(self.mask), crop)
            self.mask = np.asarray(grey, np.uint8)
        self.image = apply_crop(self.image, crop)
        self.changed = True

    def _follow(self) -> None:
        if self.mask is not None:
            how = cv2.INTER_AREA if self.image.width < self.mask.shape[1] else cv2.INTER_LINEAR
            self.mask = np.asarray(cv2.resize(self.mask, self.image.size, interpolation=how),
                                   np.uint8)  # fmt: skip
        self.changed = True


def prepare_picture(
    entry: Entry, plan: Plan, target: Target, enlarge: Enlarge | None, thumb_px: int
) -> Work:
    """Everything but writing it. Raises ImageUnreadable.

    `thumb_px`: the longer side of the small picture that the preview shows.
    """
    data = images.read_bytes(entry.path)
    image = images.decode_rgb(data, entry.name, first_frame=True)
    work = Work(entry.name, image, _own_mask(entry, image), changed=plan.png)
    if plan.face or plan.masks == "grabcut":
        work.face = subject.find_face(image)
    _mask(work, data, plan)
    if entry.crop:
        work.cut(_inside(entry.crop, image.size, entry.name))
    if plan.face:
        _cut_to_face(work, plan, target, entry.crop)
    images.check_size(work.image.size, entry.name)
    if enlarge:
        _enlarge(work, target, enlarge)
    work.frame = plan_crop(*work.image.size, target.bucket(*work.image.size))
    if plan.preview:
        work.thumb = _thumb(work, thumb_px)
    if plan.fit:
        _tell_enlarged(work, work.frame)
        work.fit(work.frame)
    return work


def _inside(crop: Box, size_px: tuple[int, int], name: str) -> Box:
    """Raise ImageUnreadable where a crop that came along is not possible."""
    try:
        return crops.check(crop, size_px, name)
    except CropInvalid as error:
        raise ImageUnreadable(str(error), "crop_invalid") from error


def _own_mask(entry: Entry, image: Image.Image) -> NDArray[np.uint8] | None:
    """The mask that came with the picture. Raises ImageUnreadable where it does not fit."""
    if entry.mask is None:
        return None
    grey = masks.read(entry.mask, f"the mask of {entry.name}")
    size = (grey.shape[1], grey.shape[0])
    masks.check_size(size, image.size, f"the mask of {entry.name}")
    return grey


def _mask(work: Work, data: bytes, plan: Plan) -> None:
    if plan.masks == "alpha":
        alpha = images.decode_alpha(data, work.name)
        if alpha is not None:
            work.put_mask(np.asarray(alpha, np.uint8))
        elif work.mask is None:
            work.warn("no_alpha", "has no transparency: it got no mask")
    elif plan.masks == "grabcut":
        _grabcut(work, plan)
    elif plan.masks == "folder" and work.mask is None:
        work.warn("no_mask", "has no mask in the folder: all of it will be learnt")


def _grabcut(work: Work, plan: Plan) -> None:
    size = work.image.size
    if plan.box:
        box = subject.box_of(plan.box, size)
    elif work.face:
        box = subject.body_box(work.face, size)
    else:
        work.warn("no_mask", "no face was found: it got no mask", "say where it is with --box")
        return
    found = subject.cut_out(work.image, box, work.face)
    if found is None:
        work.warn("no_subject", "GrabCut could not tell the subject from its ground: no mask",
                  "draw one, or give another --box")  # fmt: skip
    else:
        work.put_mask(found)


def _cut_to_face(work: Work, plan: Plan, target: Target, crop: Box | None) -> None:
    face = work.face
    if face and crop:
        face = (face[0] - crop[0], face[1] - crop[1], *face[2:])
    if face is None:
        work.warn("no_face", "no face was found: it was left uncropped", "crop it by hand")
        return
    work.cut(subject.around_face(face, plan.face_margin, work.image.size))
    if work.image.width < target.side_px and plan.upscale is None:
        work.warn(
            "small_crop",
            f"its face is cut to {work.image.width} × {work.image.height} px, less than the "
            f"{target.side_px} px of {target.title}",
            "a larger --face-margin, or --upscale",
        )


def _enlarge(work: Work, target: Target, enlarge: Enlarge) -> None:
    """A picture smaller than its bucket by the model, then down to what covers the bucket."""
    if not plan_crop(*work.image.size, target.bucket(*work.image.size)).enlarges:
        return
    work.put(enlarge(work.image))
    crop = plan_crop(*work.image.size, target.bucket(*work.image.size))
    if not crop.enlarges:
        work.resize(crop.resized_px)


def _tell_enlarged(work: Work, crop: Crop) -> None:
    factor = crop.resized_px[0] / crop.original_width_px
    if factor > MUCH_ENLARGED:
        work.warn(
            "enlarged",
            f"is {work.image.width} × {work.image.height} px: enlarged {factor:.1f} times to fill "
            f"{label(crop.bucket)}",
            "a larger picture, or --upscale",
        )


def _thumb(work: Work, side_px: int) -> Image.Image:
    """Small, with a tint over what the mask keeps from being learnt."""
    scale = min(1.0, side_px / max(work.image.size))
    size = tuple(max(1, round(side * scale)) for side in work.image.size)
    image = work.image.resize((size[0], size[1]), LANCZOS)
    if work.mask is None:
        return image
    tinted = Image.blend(image, Image.new("RGB", image.size, NOT_LEARNT), TINT)
    learnt = Image.fromarray(work.mask).resize(image.size, LANCZOS)
    return Image.composite(image, tinted, learnt)


def label(bucket: Bucket) -> str:
    """A bucket in words."""
    return f"{bucket.width_px} × {bucket.height_px}"
