"""All pictures of a set, several at a time."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from loraloom.dataset import images, masks
from loraloom.dataset.prepare.entries import Entry
from loraloom.dataset.prepare.job import Job
from loraloom.dataset.prepare.output import Outcome, Written
from loraloom.dataset.prepare.picture import Work, label, prepare_picture
from loraloom.dataset.prepare.preview import CELL_PX
from loraloom.dataset.readiness.processors import cores
from loraloom.errors import ImageUnreadable

PNG_LEVEL = 4
"""Of nine: hardly larger than the best, several times as fast."""
MOST_THREADS = 4


def prepare_pictures(job: Job, entries: Sequence[tuple[int, Entry]]) -> None:
    """Each picture with its number; what cannot be read is in `job.problems`."""
    named = [(number, entry, job.stem(entry)) for number, entry in entries]
    waiting: deque[tuple[int, Entry, Future[Outcome]]] = deque()
    with ThreadPoolExecutor(min(MOST_THREADS, cores())) as pool:
        try:
            for done, (number, entry, stem) in enumerate(named):
                job.progress("pictures", done, len(named))
                waiting.append((number, entry, pool.submit(_prepare_one, job, entry, stem)))
                if len(waiting) > MOST_THREADS:
                    _take(job, *waiting.popleft())
            while waiting:
                _take(job, *waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)
    if named:
        job.progress("pictures", len(named), len(named))


def _take(job: Job, number: int, entry: Entry, coming: Future[Outcome]) -> None:
    try:
        job.finish(number, coming.result())
    except ImageUnreadable as error:
        job.fail(entry, error)


def _prepare_one(job: Job, entry: Entry, stem: str) -> Outcome:
    """What an earlier run did, or the picture with its caption and mask, written."""
    key = job.key(entry, stem)
    if earlier := job.finished(key):
        return earlier
    work = prepare_picture(entry, job.plan, job.target, job.enlarge, CELL_PX)
    name = _write_picture(job, work, entry, stem)
    job.write_caption(stem, entry)
    mask = ""
    if work.mask is not None:
        mask = f"{masks.FOLDER}/{stem}.png"
        job.output.write(mask, _mask_bytes(work, entry))
    thumb = ""
    if work.thumb:
        thumb = job.thumb(key)
        job.output.write(thumb, _png(work.thumb))
    assert work.frame is not None
    written = Written(
        name,
        *work.image.size,
        mask=mask,
        changed=work.changed,
        bucket=label(work.frame.bucket),
        frame=_shares(work),
        thumb=thumb,
    )
    return Outcome(entry.name, key, (written,), tuple(work.findings))


def _write_picture(job: Job, work: Work, entry: Entry, stem: str) -> str:
    """As PNG where anything changed, else byte for byte."""
    if work.changed:
        job.output.write(f"{stem}.png", _png(work.image))
        return f"{stem}.png"
    name = stem + Path(entry.name).suffix.lower()
    job.output.write(name, images.read_bytes(entry.path))
    return name


def _mask_bytes(work: Work, entry: Entry) -> bytes:
    """The mask that came along byte for byte as long as nothing changed."""
    if entry.mask and not work.changed and not work.new_mask:
        return images.read_bytes(entry.mask)
    assert work.mask is not None
    return _png(masks.to_image(work.mask))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _shares(work: Work) -> tuple[float, float, float, float]:
    """What the bucket keeps, as shares of the sides before the cut."""
    crop = work.frame
    assert crop is not None
    width_px, height_px = crop.resized_px
    right_px = crop.left_px + crop.bucket.width_px
    bottom_px = crop.top_px + crop.bucket.height_px
    return (
        crop.left_px / width_px,
        crop.top_px / height_px,
        right_px / width_px,
        bottom_px / height_px,
    )
