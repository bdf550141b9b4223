"""Comparisons: the same prompts and seeds over checkpoints and strengths, in one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loraloom.errors import AdapterRefused, JobUnknown
from loraloom.generate import order as orders
from loraloom.generate.order import Grid, Order, Wanted
from loraloom.studio import run_files
from loraloom.studio.adapter import Adapter
from loraloom.studio.bases import refuse_folder
from loraloom.studio.job import Job, Task
from loraloom.studio.jobs import Jobs, Start
from loraloom.studio.library import Library
from loraloom.studio.pictures import PRIORITY, chosen_base, fitted, usable
from loraloom.studio.rights import ALONE, Person, check

MOST_COLUMNS = 24
MOST_PICTURES = 400
WITHOUT = "no adapter"


class GridAsk(BaseModel):
    """What is compared: every column is a checkpoint at a strength, every row a prompt and seed."""

    model_config = ConfigDict(extra="forbid")

    adapter: int = Field(ge=1, le=2**31 - 1)
    steps: list[int] = Field(default_factory=list, max_length=40)
    """Checkpoints of its run; 0 is the adapter itself."""
    scales: list[float] = Field(default_factory=lambda: [1.0], min_length=1, max_length=8)
    prompts: list[str] = Field(min_length=1, max_length=20)
    seed: int = Field(default=0, ge=0, lt=2**53)
    seeds: int = Field(default=1, ge=1, le=8)
    base: str = Field(default="", max_length=500)
    size_px: int | None = Field(default=None, ge=16, le=4096)
    denoising_steps: int | None = Field(default=None, ge=1, le=200)
    guidance: float | None = Field(default=None, ge=0, le=50)

    @field_validator("prompts")
    @classmethod
    def _told(cls, prompts: list[str]) -> list[str]:
        lines = [line.replace("\0", "").strip()[:2000] for line in prompts]
        lines = [line for line in lines if line]
        if not lines:
            raise ValueError("give one prompt a line")
        return lines

    @field_validator("scales")
    @classmethod
    def _in_range(cls, scales: list[float]) -> list[float]:
        if not all(-1 <= scale <= 2 for scale in scales):
            raise ValueError("strengths from -1 to 2 are possible")
        return list(dict.fromkeys(scales))

    @property
    def columns(self) -> int:
        """Without an adapter, and each checkpoint at each strength."""
        return 1 + max(len(set(self.steps)), 1) * len(self.scales)

    @property
    def pictures(self) -> int:
        """How many are drawn."""
        return self.columns * len(self.prompts) * self.seeds


@dataclass(frozen=True)
class Cell:
    """One picture of a comparison."""

    number: int
    is_drawn: bool


@dataclass(frozen=True)
class Comparison:
    """A grid as it stands."""

    job: Job
    grid: Grid
    order: Order
    rows: list[list[Cell]]

    @property
    def drawn(self) -> int:
        """How many pictures are there."""
        return sum(cell.is_drawn for row in self.rows for cell in row)

    @property
    def sheet(self) -> Path:
        """All in one picture, once it is whole."""
        return self.job.run_folder / orders.SHEET


class Grids:
    """All comparisons of an installation, as somebody may see them: each is a job of theirs."""

    def __init__(self, library: Library, all_jobs: Jobs, person: Person = ALONE) -> None:
        """`library`, `all_jobs`: as the same person sees them."""
        self._library = library
        self._jobs = all_jobs
        self._person = person

    def seen_by(self, person: Person) -> Grids:
        """The same as somebody sees and may change them."""
        library, jobs_ = self._library.seen_by(person), self._jobs.seen_by(person)
        return Grids(library, jobs_, person)

    def checkpoints(self, adapter: Adapter) -> dict[int, Path]:
        """Steps of the adapter's run that are kept -> their files; none of a run of others."""
        run = adapter.run_id
        if run is None or not self._jobs.known({run}):
            return {}
        found = run_files.kept_adapters(self._jobs.get(run).run_folder)
        return {step: path for (step, average), path in found.items() if not average}

    def order(self, ask: GridAsk) -> Order:
        """What would be drawn.

        Raises AdapterRefused, AdapterUnknown, BaseUnknown, ConfigInvalid.
        """
        refuse_folder(self._person, ask.base)
        adapter = self._library.get(ask.adapter)
        kept = {0: usable(adapter), **self.checkpoints(adapter)}
        steps = sorted(set(ask.steps)) or [0]
        missing = [step for step in steps if step not in kept]
        if missing:
            raise AdapterRefused(f"{adapter.name!r} keeps no checkpoint of step {missing[0]}.")
        _refuse_too_many(ask)
        base = chosen_base(ask.base, [adapter])
        ways = [(number, scale) for number in range(len(steps)) for scale in ask.scales]
        columns = [WITHOUT, *(_title(adapter, steps[n], scale) for n, scale in ways)]
        off = (0.0,) * len(steps)
        combinations = [off, *((*off[:n], scale, *off[n + 1 :]) for n, scale in ways)]
        lines = [(text, ask.seed + n) for text in ask.prompts for n in range(ask.seeds)]
        side_px = fitted(ask.size_px, base)
        wanted = tuple(
            Wanted(
                prompt=text, seed=seed, guidance=ask.guidance, steps=ask.denoising_steps,
                width_px=side_px, height_px=side_px, scales=scales,
            )
            for text, seed in lines
            for scales in combinations
        )  # fmt: skip
        rows = tuple(f"seed {seed}: {text}" for text, seed in lines)
        return Order(
            base=base.name,
            adapters=tuple(kept[step].resolve() for step in steps),
            names=tuple(f"{adapter.name}, step {s}" if s else adapter.name for s in steps),
            pictures=wanted,
            grid=Grid(title=adapter.name, rows=rows, columns=tuple(columns)),
        )

    def start(self, ask: GridAsk, start: Start | None = None) -> Job:
        """Queue it, once for a `start`. Raises JobRefused and Forbidden as `Jobs.add`, and as
        `order`."""
        check(self._person, "add")
        if start and (made := self._jobs.started(start)):
            return made
        order = self.order(ask)
        assert order.grid
        return self._jobs.queue_up(
            Task.GRID, order.grid.title, orders.to_toml(order), priority=PRIORITY, start=start,
            project=self._library.get(ask.adapter).project_id,
        )[0]  # fmt: skip

    def get(self, number: int) -> Comparison:
        """By the number of its job. Raises JobUnknown."""
        job = self._jobs.get(number)
        order = orders.parse(job.settings) if job.task is Task.GRID else None
        if order is None or order.grid is None:
            raise JobUnknown(f"There is no grid {number}.")
        cells = [
            Cell(n, orders.picture_file(job.run_folder, n).is_file())
            for n in range(len(order.pictures))
        ]
        width = len(order.grid.columns)
        rows = [cells[start : start + width] for start in range(0, len(cells), width)]
        return Comparison(job, order.grid, order, rows)

    def latest(self, limit: int = 12) -> list[Job]:
        """The newest ones."""
        return self._jobs.page(task=Task.GRID, limit=limit)


def _refuse_too_many(ask: GridAsk) -> None:
    if ask.columns > MOST_COLUMNS or ask.pictures > MOST_PICTURES:
        raise AdapterRefused(
            f"This grid would have {ask.columns} columns and {ask.pictures} pictures; up to "
            f"{MOST_COLUMNS} columns and {MOST_PICTURES} pictures are possible. Leave some "
            "checkpoints, strengths or prompts out."
        )


def _title(adapter: Adapter, step: int, scale: float) -> str:
    return f"{f'step {step}' if step else adapter.name} × {scale:g}"
