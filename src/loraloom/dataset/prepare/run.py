"""Prepare a whole set: every picture and clip, and the folder whole or not at all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from loraloom.dataset import notes
from loraloom.dataset.exports import check_mask_folder, concepts_file, is_plain
from loraloom.dataset.layouts.plain import CONCEPTS_FILE
from loraloom.dataset.prepare import output as outputs
from loraloom.dataset.prepare import preview
from loraloom.dataset.prepare.clipset import prepare_clips
from loraloom.dataset.prepare.entries import Source, read_source
from loraloom.dataset.prepare.job import Job, Progress
from loraloom.dataset.prepare.output import Outcome, Output, Written
from loraloom.dataset.prepare.pictures import prepare_pictures
from loraloom.dataset.prepare.plan import Plan
from loraloom.dataset.prepare.preview import Cell
from loraloom.dataset.prepare.target import target_of
from loraloom.dataset.prepare.upscale import Enlarge
from loraloom.errors import ConfigInvalid, DatasetProblems
from loraloom.files import write_png
from loraloom.findings import Finding

MAKER = "loraloom dataset prepare"


@dataclass(frozen=True)
class Prepared:
    """What a set became."""

    out: Path
    title: str
    target: str
    fps: float
    """Of the clips that were written anew; 0: there are none."""
    items: tuple[Outcome, ...]
    findings: tuple[Finding, ...]
    sheets: tuple[Path, ...] = ()

    @property
    def written(self) -> list[Written]:
        """All pictures, clips and sequences."""
        return [written for item in self.items for written in item.written]

    def buckets(self) -> dict[str, int]:
        """Bucket -> how many pictures it holds, the fullest first."""
        counts = Counter(written.bucket for written in self.written if written.bucket)
        return dict(counts.most_common())


def prepare(
    source: str,
    out: Path,
    plan: Plan,
    *,
    base: str = "starter",
    sheet: Path | None = None,
    moving_gifs: bool = False,
    replace: bool = False,
    skip_broken: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Prepared:
    """Write `out` from a folder or a stored dataset, which is not changed, and a preview `sheet`.

    A run that was killed goes on where it was. Raises ConfigInvalid, BaseUnknown, OutputExists,
    UpscalerUnusable, DatasetBusy, DatasetProblems with all that cannot be read (`skip_broken`
    leaves that out), and what `read_source` raises.
    """
    plan.check()
    _check_sheet(sheet, source)
    target = target_of(base)
    found = read_source(
        source, moving_gifs=moving_gifs, skip_broken=skip_broken, mask_folder=plan.mask_folder
    )
    outputs.check_target(out, found.root, replace=replace)
    enlarge, model = _upscaler(plan)
    with outputs.building(out, found.root, replace=replace) as output:
        job = Job(
            plan, target, output, plan.digest(target, model), _folders(found), enlarge, progress
        )
        _run(job, found, skip_broken=skip_broken)
        result = _result(job, found, out)
        _complete(job, found, result)
        pages = _sheets(result, output) if sheet else []
        paths = preview.paths(sheet, len(pages)) if sheet else []
        for path, page in zip(paths, pages, strict=True):
            write_png(path, page)
    return Prepared(**{**vars(result), "sheets": tuple(paths)})


def _check_sheet(sheet: Path | None, source: str) -> None:
    """Raise ConfigInvalid where the preview could not be there."""
    if sheet is None:
        return
    if sheet.suffix.lower() != ".png":
        raise ConfigInvalid(f"--preview {sheet} is not possible: a name that ends in .png is.")
    if sheet.resolve().is_relative_to(Path(source).resolve()):
        raise ConfigInvalid(
            f"--preview {sheet} would lie among the pictures of {source}; name another place."
        )


def _upscaler(plan: Plan) -> tuple[Enlarge | None, str]:
    """The model, and the SHA-256 of its file."""
    if plan.upscale is None:
        return None, ""
    from loraloom.dataset.prepare.upscale import load

    model = load(plan.upscale)
    with plan.upscale.open("rb") as stream:
        return model, hashlib.file_digest(stream, "sha256").hexdigest()


def _folders(source: Source) -> dict[str, str]:
    """Concept -> folder: the top where there is only one without a word on it.

    Raises DatasetNameInvalid.
    """
    check_mask_folder(concept.name for concept in source.concepts)
    plain = is_plain(source.concepts)
    return {concept.name: "" if plain else concept.name for concept in source.concepts}


def _run(job: Job, source: Source, *, skip_broken: bool) -> None:
    """All items. Raises DatasetProblems."""
    numbered = list(enumerate(source.entries))
    prepare_pictures(job, [(n, entry) for n, entry in numbered if not entry.is_clip])
    prepare_clips(job, [(n, entry) for n, entry in numbered if entry.is_clip])
    if job.problems and not skip_broken:
        raise DatasetProblems([notes.sentence(problem) for problem in job.problems])


def _result(job: Job, source: Source, out: Path) -> Prepared:
    """Raises DatasetProblems where nothing is left."""
    items = tuple(job.outcomes[number] for number in sorted(job.outcomes))
    findings = [*source.findings, *job.problems]
    findings += (finding for item in items for finding in item.findings)
    result = Prepared(out, source.title, job.target.title, job.fps, items, tuple(findings))
    if not result.written:
        raise DatasetProblems([notes.sentence(finding) for finding in findings])
    return result


def _complete(job: Job, source: Source, result: Prepared) -> None:
    """What describes the folder; what an earlier run left and no item has is swept."""
    output = job.output
    keep = {outputs.JOURNAL, outputs.LOCK, outputs.RECORD}
    for item in result.items:
        for written in item.written:
            stem = written.file if job.plan.frames and written.frames else ""
            caption = (stem or str(Path(written.file).with_suffix(""))) + ".txt"
            keep |= {written.file, written.mask, written.thumb, caption}
    if not is_plain(source.concepts):
        output.write(CONCEPTS_FILE, concepts_file(source.concepts).encode())
        keep.add(CONCEPTS_FILE)
    record: dict[str, object] = {
        "made_by": MAKER,
        "source": source.title,
        "for": result.target,
        "asked": job.plan.to_json(),
        "fps": result.fps or None,
        "items": [_row(item) for item in result.items],
    }
    outputs.write_record(output, record)
    outputs.sweep(output, keep - {""})


def _row(item: Outcome) -> dict[str, object]:
    """An item in the record."""
    names = ("file", "width_px", "height_px", "mask", "frames", "changed", "bucket")
    files = [{key: value for key, value in asdict(written).items()
              if key in names and value not in ("", 0)} for written in item.written]  # fmt: skip
    row: dict[str, object] = {"from": item.name, "files": files}
    if item.findings:
        row["notes"] = [notes.sentence(finding) for finding in item.findings]
    return row


def _sheets(result: Prepared, output: Output) -> list[Image.Image]:
    cells = [
        Cell(output.part / written.thumb, written.frame, item.name, _label(written))
        for item in result.items
        for written in item.written
        if written.thumb and written.frame
    ]
    subtitle = " · ".join(_counts(result)) + f" · for {result.target}"
    return preview.sheets(cells, result.title, subtitle)


def _label(written: Written) -> str:
    mask = ", mask" if written.mask else ""
    if written.frames:
        return f"{written.width_px} × {written.height_px}, {written.frames} frames"
    return f"{written.bucket}{mask}"


def _counts(result: Prepared) -> Sequence[str]:
    buckets = result.buckets()
    pictures, moving = sum(buckets.values()), sum(bool(w.frames) for w in result.written)
    counts = [f"{pictures} pictures in {len(buckets)} buckets"] if pictures else []
    return counts + ([f"{moving} clips at {result.fps:g} fps"] if moving else [])
