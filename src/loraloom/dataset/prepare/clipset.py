"""All clips of a set: looked at, given one frame rate, then prepared one after the other."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from loraloom.dataset import notes
from loraloom.dataset.checking import Checkers
from loraloom.dataset.images import Facts
from loraloom.dataset.prepare import clip as clips
from loraloom.dataset.prepare.entries import Entry
from loraloom.dataset.prepare.job import Job
from loraloom.dataset.prepare.output import Outcome, Written
from loraloom.dataset.prepare.preview import CELL_PX
from loraloom.dataset.readiness.processors import cores
from loraloom.errors import ConfigInvalid, ImageUnreadable
from loraloom.files import telling_failures
from loraloom.findings import Finding

MOST_CHILDREN = 4
TOLD = frozenset(("hdr", "interlaced"))
"""Reservations that preparing does not mend."""


@dataclass(frozen=True)
class _Seen:
    number: int
    entry: Entry
    facts: Facts


def prepare_clips(job: Job, entries: Sequence[tuple[int, Entry]]) -> None:
    """Each clip with its number; what cannot be read is in `job.problems`.

    Raises ConfigInvalid where the clips have no common rate and none was given.
    """
    seen = _look(job, entries)
    if not seen:
        return
    job.fps = set_rate(job, [item.facts for item in seen])
    for done, item in enumerate(seen):
        job.progress("clips", done, len(seen))
        try:
            job.finish(item.number, _prepare_one(job, item))
        except ImageUnreadable as error:
            job.fail(item.entry, error)
    job.progress("clips", len(seen), len(seen))


def set_rate(job: Job, facts: Sequence[Facts]) -> float:
    """Frames a second of all clips that are written anew. Raises ConfigInvalid."""
    if job.plan.fps:
        return float(job.plan.fps)
    rates = sorted({found.fps for found in facts})
    if not any(clips.is_unsteady(found) for found in facts) and len(rates) == 1:
        return rates[0]
    if all(clips.stays(job.plan, found, 0) for found in facts):
        return 0.0
    told = ", ".join(f"{rate:g}" for rate in rates[:8])
    raise ConfigInvalid(
        f"The clips have {told} frames a second or uneven ones; a set has one rate: give --fps 24 "
        "or --fps 30."
    )


def _look(job: Job, entries: Sequence[tuple[int, Entry]]) -> list[_Seen]:
    """Decode each clip in a child process."""
    seen: list[_Seen] = []
    if not entries:
        return seen
    count = min(MOST_CHILDREN, cores(), len(entries))
    with Checkers(count) as check, ThreadPoolExecutor(count) as pool:
        coming: list[Future[Facts]] = [
            pool.submit(check, entry.path, entry.name, "clip") for _, entry in entries
        ]
        for done, ((number, entry), future) in enumerate(zip(entries, coming, strict=True)):
            job.progress("looking at clips", done, len(entries))
            try:
                seen.append(_Seen(number, entry, future.result()))
            except ImageUnreadable as error:
                job.fail(entry, error)
    job.progress("looking at clips", len(entries), len(entries))
    return seen


def _prepare_one(job: Job, item: _Seen) -> Outcome:
    entry, facts = item.entry, item.facts
    stem = job.stem(entry)
    key = job.key(entry, stem)
    if earlier := job.finished(key):
        for before in earlier.written:
            job.output.reserve(before.file)
        return earlier
    findings = [
        notes.warning(code, entry.name, sentence.removeprefix(f"{entry.name}: "))
        for code, sentence in facts.notes
        if code in TOLD
    ]
    if clips.stays(job.plan, facts, job.fps):
        return _copy(job, item, stem, key, findings)
    parts, more = clips.cut(entry, facts, job.plan, job.target, job.fps)
    findings += more
    if not parts:
        findings.append(notes.warning("clip_left_out", entry.name, "no part of it could be used"))
    names = _names(job, entry, stem, len(parts))
    thumbs = _write_parts(job, item, parts, names, key)
    written = tuple(
        Written(
            name,
            *part.size_px,
            frames=part.segment.frames,
            frame=part.frame,
            thumb=thumb,
        )
        for part, name, thumb in zip(parts, names, thumbs, strict=True)
    )
    return Outcome(entry.name, key, written, tuple(findings))


def _names(job: Job, entry: Entry, stem: str, count: int) -> list[str]:
    """One for each part: the clip's own where it is one."""
    folder = job.folders[entry.concept]
    plain = stem.rpartition("/")[2]
    stems = [stem] if count == 1 else [
        job.output.free_stem(f"{plain}-{number:02d}", folder) for number in range(1, count + 1)
    ]  # fmt: skip
    return stems if job.plan.frames else [f"{stem}.mp4" for stem in stems]


def _write_parts(
    job: Job, item: _Seen, parts: list[clips.Part], names: list[str], key: str
) -> list[str]:
    """The parts with their captions; returns the names of small pictures."""
    places = [job.output.place(name) for name in names]
    for place in places:
        if place.is_dir():
            shutil.rmtree(place)  # half-written, by a killed run
    thumbs = []
    firsts = clips.write(item.entry, item.facts, job.plan, job.target, job.fps, parts, places)
    for number, first in enumerate(firsts):
        thumbs.append(_thumb(job, first, key, number))
    assert len(thumbs) == len(parts), "each part has frames"
    for name in names:
        job.write_caption(name.removesuffix(".mp4"), item.entry)
    return thumbs


def _copy(job: Job, item: _Seen, stem: str, key: str, findings: list[Finding]) -> Outcome:
    name = stem + Path(item.entry.name).suffix.lower()
    place = job.output.place(name)
    with telling_failures(place):
        shutil.copyfile(item.entry.path, place)
        job.output.sync(name)
    job.write_caption(stem, item.entry)
    written = Written(
        name, item.facts.width_px, item.facts.height_px, frames=item.facts.frames, changed=False
    )
    return Outcome(item.entry.name, key, (written,), tuple(findings))


def _thumb(job: Job, image: Image.Image, key: str, number: int) -> str:
    if not job.plan.preview:
        return ""
    image.thumbnail((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    name = job.thumb(key, number)
    job.output.write(name, buffer.getvalue())
    return name
