"""What `loraloom dataset` shows, as tables for people or one line of JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from loraloom.cli.output import messages, print_json
from loraloom.dataset.snapshot import Contents, Difference, Picture
from loraloom.dataset.staging import Intake
from loraloom.dataset.stored import StoredDataset
from loraloom.findings import Finding, Severity

SHOWN_ROWS = 40
"""More than these are counted; --json gives all."""
COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.HINT: "dim"}


@contextmanager
def counting(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar; yields what is told how much is done of how much."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=messages, disable=quiet, transient=True) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def show_intake(name: str, found: Intake, *, json: bool, stored: bool, skip_broken: bool) -> None:
    """What an import found, before it is stored or refused."""
    errors = [f for f in found.findings if f.severity is Severity.ERROR]
    if json:
        print_json(
            {
                "name": name,
                "layout": found.layout,
                "new": len(found.pictures),
                "known": found.known,
                "junk": found.junk,
                "stored": stored and (skip_broken or not errors),
                "concepts": [asdict(concept) for concept in found.concepts],
                "findings": [asdict(finding) for finding in found.findings],
            }
        )
        return
    _show_findings(found.findings)
    concepts = ", ".join(concept.name for concept in found.concepts) or "–"
    messages.print(
        f"{name}: {counted(found.pictures)} new, {found.known} already there, {found.junk} system "
        f"files ignored; layout {found.layout or '–'}; concepts {concepts}",
        markup=False,
    )


def counted(pictures: Sequence[Picture]) -> str:
    """How many pictures, clips and masks."""
    clips = sum(picture.is_clip for picture in pictures)
    masked = sum(bool(picture.mask) for picture in pictures)
    parts = [f"{len(pictures) - clips} pictures"] if len(pictures) > clips or not clips else []
    parts += [f"{clips} clips"] * bool(clips)
    return " and ".join(parts) + f" ({masked} with mask)" * bool(masked)


def overview(stored: StoredDataset) -> dict[str, object]:
    """A dataset in one row."""
    contents = stored.working
    return {
        "name": stored.name,
        "pictures": len(contents.pictures),
        "concepts": len(contents.concepts),
        "snapshots": len(stored.snapshots()),
        "hash": contents.hash,
    }


def show_dataset(stored: StoredDataset, *, json: bool) -> None:
    """Concepts, pictures and snapshots."""
    contents, snapshots = stored.working, stored.snapshots()
    if json:
        pictures = [asdict(picture) for picture in contents.pictures]
        print_json(
            {
                **overview(stored),
                "concepts": _concept_rows(contents),
                "pictures": pictures,
                "snapshots": [asdict(info) for info in snapshots],
                "last_edit": stored.last_edit,
            }
        )
        return
    table(["name", "trigger", "repeats", "pictures"], _concept_rows(contents))
    rows: list[dict[str, object]] = [
        {"picture": p.sha256[:12], "name": p.name, "what": _describe(p), "concept": p.concept,
         "caption": p.caption}
        for p in contents.pictures
    ]  # fmt: skip
    table(["picture", "name", "what", "concept", "caption"], rows)
    taken: list[dict[str, object]] = [
        {"snapshot": s.hash[:12], "pictures": s.pictures, "note": s.note} for s in snapshots
    ]
    table(["snapshot", "pictures", "note"], taken)


def show_difference(difference: Difference, *, json: bool) -> None:
    """What was added, removed and changed."""
    if json:
        print_json(asdict(difference))
        return
    rows: list[dict[str, object]] = []
    for sign, pictures in (("+", difference.added), ("-", difference.removed)):
        rows += [{"": sign, "name": p.name, "was → is": p.caption} for p in pictures]
    for old, new in difference.recaptioned:
        rows.append({"": "~", "name": new.name, "was → is": f"{old.caption} → {new.caption}"})
    for old, new in difference.moved:
        rows.append({"": ">", "name": new.name, "was → is": f"{old.concept} → {new.concept}"})
    for old, new in difference.reframed:
        frames = " → ".join(_frame(picture) for picture in (old, new))
        rows.append({"": "%", "name": new.name, "was → is": frames})
    for was, becomes in difference.concepts:
        name = next(concept.name for concept in (was, becomes) if concept)
        words = [f"{c.trigger or '–'}, {c.repeats} ×" if c else "–" for c in (was, becomes)]
        rows.append({"": "#", "name": name, "was → is": " → ".join(words)})
    if rows:
        table(["", "name", "was → is"], rows)
    else:
        messages.print("No difference.")


def table(columns: Sequence[str], rows: Sequence[dict[str, object]]) -> None:
    """Rows on standard output, the first forty."""
    grid = Table(box=None, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows[:SHOWN_ROWS]:
        grid.add_row(*(Text(_short(row[column])) for column in columns))
    Console().print(grid)
    if len(rows) > SHOWN_ROWS:
        messages.print(f"… and {len(rows) - SHOWN_ROWS} more; --json lists all")


def _concept_rows(contents: Contents) -> list[dict[str, object]]:
    counts = contents.counts()
    return [{**asdict(concept), "pictures": counts[concept.name]} for concept in contents.concepts]


def _show_findings(findings: Sequence[Finding]) -> None:
    if not findings:
        return
    grid = Table(box=None, header_style="bold")
    for column in ("", "file", "what", "to do"):
        grid.add_column(column, overflow="fold")
    order = list(Severity)
    for finding in sorted(findings, key=lambda f: order.index(f.severity))[:SHOWN_ROWS]:
        label = Text(finding.severity.value, style=COLOURS[finding.severity])
        grid.add_row(label, Text(finding.item), Text(finding.message), Text(finding.fix))
    messages.print(grid)
    if len(findings) > SHOWN_ROWS:
        messages.print(f"… and {len(findings) - SHOWN_ROWS} more; --json lists all")


def _describe(picture: Picture) -> str:
    """Size, length, and whether it has a mask or a crop."""
    words = [f"{picture.width_px} × {picture.height_px}"]
    if picture.is_clip:
        words.append(f"{picture.frames} frames, {picture.fps:g} fps")
    words += ["mask"] * bool(picture.mask) + ["cropped"] * bool(picture.crop)
    return ", ".join(words)


def _frame(picture: Picture) -> str:
    crop = f"crop {'x'.join(map(str, picture.crop))}" if picture.crop else "whole"
    return f"{crop}, {f'mask {picture.mask[:12]}' if picture.mask else 'no mask'}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]} …"
