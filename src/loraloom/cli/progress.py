"""The events of a training run, shown to a person or printed for a program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from loraloom.cli.output import messages
from loraloom.train import events
from loraloom.train.events import Event
from loraloom.train.stop import StopRequest

LOSS_MEMORY = 0.98  # share of the past in the loss that is shown


def print_events(happenings: Iterable[Event]) -> Event | None:
    """Each event as one line of JSON on standard output; the last one is returned."""
    last = None
    for last in happenings:
        print(last.to_json(), flush=True)
    return last


def show_events(happenings: Iterable[Event]) -> Event | None:
    """A bar with loss and time left, notes above it; the last event is returned."""
    last = None
    coming = iter(happenings)
    first = list(islice(coming, 1))  # what is wrong from the start is told without bars
    with _bars() as progress:
        view = _View(progress)
        for last in chain(first, coming):
            view.show(last)
    return last


def asked_to_stop() -> StopRequest:
    """What Ctrl-C sets, and says so at once."""
    return StopRequest(lambda: messages.print("Stopping after this step; Ctrl-C again: at once."))


@contextmanager
def _bars() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages) as progress:
        yield progress


class _View:
    """What of the run is on the screen."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._steps = 0
        self._loss: float | None = None
        self._gap = ""
        self._expected_mib = 0

    def show(self, event: Event) -> None:
        """Draw one event."""
        match event:
            case events.Started():
                self._steps = event.steps
                self._say(
                    f"{event.items} pictures, {event.held_out} held out; "
                    f"{event.trainable:,} weights to train in {event.precision} on {event.device}"
                )
                self._say(
                    "effective strength (learning rate x alpha / rank): "
                    f"{event.effective_learning_rate:.2g}"
                )
                self._bar("training", event.first_step - 1, event.steps)
            case events.Stage():
                self._bar(event.name, event.done, event.total)
            case events.Step():
                self._loss = _smooth(self._loss, event.loss)
                note = f"loss {self._loss:.4f}{self._gap}"
                self._bar("training", event.step, self._steps, note)
            case events.Validated():
                unseen = ""
                if event.gap is not None:
                    self._gap = f", gap {event.gap:+.4f}"
                    unseen = f", held-out {event.held_out_loss:.4f}{self._gap}"
                self._say(f"step {event.step}: loss on training {event.train_loss:.4f}{unseen}")
            case events.Sampled():
                self._say(f"step {event.step}: {len(event.paths)} samples drawn")
            case events.Planned():
                self._expected_mib = event.peak_mib
                time = f"about {event.minutes:.0f} min" if event.minutes >= 1 else "under a minute"
                self._say(
                    f"expected: {event.peak_mib / 1024:.1f} of {event.available_mib / 1024:.1f} "
                    f"GiB of memory, {time} of training"
                )
            case events.Diagnosed():
                self._say(f"[yellow]step {event.step}:[/] {escape(event.message)}")
            case events.Warned():
                self._say(f"[yellow]warning:[/] {escape(event.message)}")
            case events.Finished():
                if event.peak_mib and self._expected_mib:
                    self._say(
                        f"memory held at most: {event.peak_mib / 1024:.1f} GiB; expected were "
                        f"{self._expected_mib / 1024:.1f} GiB"
                    )
                self._say(
                    f"Done in {event.seconds:.0f} s. The best of {event.step} steps is "
                    f"{event.best_step}: [bold]{escape(str(event.adapter))}[/]"
                )

    def _say(self, text: str) -> None:
        self._progress.console.print(text)

    def _bar(self, name: str, done: int, total: int, note: str = "") -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._bars[name], completed=done, total=total, note=note)


def _smooth(past: float | None, loss: float) -> float:
    return loss if past is None else LOSS_MEMORY * past + (1 - LOSS_MEMORY) * loss
