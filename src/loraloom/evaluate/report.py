"""The report of a run: one HTML file that needs nothing beside it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from loraloom.files import write_atomic

_MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True)
class Metric:
    """One number with its target: `ok` None means it is told for information only."""

    name: str
    value: str
    target: str
    ok: bool | None
    explanation: str


@dataclass(frozen=True)
class PictureRow:
    """One generated picture and what was found in it."""

    picture: Path
    prompt: str
    findings: str
    ok: bool | None = None


@dataclass(frozen=True)
class ReportData:
    """All that the report shows; empty parts are left out of the page."""

    title: str
    verdict: str  # one sentence
    good: bool
    metrics: Sequence[Metric]
    next_step: str
    sheet: Path | None = None
    curves: Path | None = None
    pictures: Sequence[PictureRow] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    seconds_by_phase: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mib: float | None = None


def write_report(path: Path, data: ReportData) -> None:
    """Write the page with its pictures inside it as data URIs.

    Raises DiskFull and OutputUnwritable, and OSError where a picture cannot be read.
    """
    environment = Environment(
        loader=PackageLoader("loraloom.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "duration": duration}
    page = environment.get_template("report.html.j2").render(
        data=data, total_s=sum(data.seconds_by_phase.values())
    )
    write_atomic(path, page.encode(), durable=False)


def data_uri(picture: Path) -> str:
    """The file's bytes as a `data:` address."""
    media = _MEDIA[picture.suffix.lower()]
    return f"data:{media};base64,{base64.b64encode(picture.read_bytes()).decode()}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.8 s, 12 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
