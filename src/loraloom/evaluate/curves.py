"""The curves of a run as one picture: training loss, and validation where overfitting shows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from loraloom.files import write_atomic

_INK, _SOFT, _GRID, _PAPER = "#1c1e24", "#6e717a", "#e6e3dc", "#ffffff"
_TRAIN, _HELD_OUT, _BEST = "#2f6fdf", "#d9622b", "#1f8a5b"


@dataclass(frozen=True)
class Validation:
    """Losses on fixed noise; `held_out_loss` is None where no picture was held out."""

    step: int
    train_loss: float
    held_out_loss: float | None


@dataclass(frozen=True)
class Curves:
    """What a run measured. `losses` are (step, loss)."""

    losses: Sequence[tuple[int, float]]
    validations: Sequence[Validation]
    best_step: int | None = None


def draw_curves(path: Path, curves: Curves) -> None:
    """Write a PNG, 1800 px wide: the loss on the left, validation on the right.

    Raises DiskFull and OutputUnwritable.
    """
    figure = Figure(
        figsize=(9, 3.4),
        dpi=200,
        facecolor=_PAPER,
    )
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12, wspace=0.05)
    FigureCanvasAgg(figure)
    loss, validation = figure.subplots(1, 2)
    _plain(loss, "Training loss")
    _plain(validation, "Validation loss")
    _draw_loss(loss, curves)
    _draw_validation(validation, curves)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    write_atomic(path, picture.getvalue(), durable=False)


def smoothed(values: Sequence[float], share: float = 0.05) -> list[float]:
    """Exponential mean over about `share` of the run, corrected for its start."""
    keep = 1 - 1 / max(1.0, len(values) * share)
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(mean / weight)
    return out


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=_INK, pad=10)
    axes.set_xlabel("step", fontsize=8, color=_SOFT)
    axes.tick_params(labelsize=8, colors=_SOFT, length=0)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)


def _draw_loss(axes: Axes, curves: Curves) -> None:
    if not curves.losses:
        _nothing(axes)
        return
    steps = [step for step, _ in curves.losses]
    losses = [loss for _, loss in curves.losses]
    axes.plot(steps, losses, color=_TRAIN, alpha=0.22, linewidth=0.8, label="each step")
    axes.plot(steps, smoothed(losses), color=_TRAIN, linewidth=1.8, label="smoothed")
    axes.set_ylim(0, 1.15 * sorted(losses)[int(0.98 * (len(losses) - 1))])  # a spike may leave
    _legend(axes)


def _draw_validation(axes: Axes, curves: Curves) -> None:
    if not curves.validations:
        _nothing(axes)
        return
    steps = [v.step for v in curves.validations]
    train = [v.train_loss for v in curves.validations]
    held_out = [v.held_out_loss for v in curves.validations if v.held_out_loss is not None]
    if len(held_out) == len(steps):
        axes.fill_between(steps, train, held_out, color=_HELD_OUT, alpha=0.07, linewidth=0)
        axes.plot(steps, held_out, "o-", color=_HELD_OUT, label="held out", markersize=3.5)
    axes.plot(steps, train, "o-", color=_TRAIN, label="training", markersize=3.5)
    best = curves.best_step
    if best is not None:
        axes.axvline(best, color=_BEST, linewidth=1.2, linestyle=(0, (4, 3)))
        right = best > (steps[0] + steps[-1]) / 2
        axes.annotate(
            f"best: step {best}",
            (best, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if right else 5, -2),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            fontsize=8,
            color=_BEST,
        )
    axes.margins(y=0.18)
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=8, frameon=False,
        labelcolor=_SOFT, handlelength=1.4, borderaxespad=0.2, columnspacing=1.2,
    )  # fmt: skip


def _nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=_SOFT)
