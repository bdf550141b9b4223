"""`loraloom plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import print_json
from loraloom.cli.train import (
    Assignments,
    KindName,
    Preset,
    PresetName,
    chosen,
    complete,
    read_source,
)
from loraloom.errors import ConfigInvalid
from loraloom.kinds import Kind

if TYPE_CHECKING:
    from loraloom.config import TrainConfig, Tree
    from loraloom.train.planning import Plan


def plan(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.toml|FOLDER|NAME[@SNAPSHOT]]",
            help="as `train` takes it; none: any pictures, for the base named",
        ),
    ] = None,
    base: Annotated[str | None, typer.Option(help="name or folder of the base model")] = None,
    kind: KindName = None,
    preset: PresetName = "standard",
    assignments: Assignments = None,
    card: Annotated[
        str | None, typer.Option(help='a card by name, such as "RTX 3060" (else: this machine)')
    ] = None,
    less: Annotated[
        bool, typer.Option("--less", help="what needs less, even where it fits")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Say how much memory and time a run takes, before it; and what to change to need less.

    \b
    loraloom plan my-pictures --base sdxl
    loraloom plan settings.toml --card "RTX 3090"
    loraloom plan --base starter --set batch_size=8
    """
    from loraloom.train import planning

    options = chosen(base, kind)
    if source is not None:
        config = complete(read_source(source), options, assignments or [], preset)
    elif base is not None:
        config = _without_pictures(options, assignments or [], preset)
    else:
        raise ConfigInvalid("Name pictures or settings, or a base with --base.")
    found = planning.plan(config, card, less=less)
    if json:
        print_json(_as_tree(found, config))
    else:
        _show(found, config)


def _without_pictures(options: Tree, assignments: list[str], preset: Preset) -> TrainConfig:
    """Settings for as many pictures as are recommended for the kind."""
    from loraloom import config_tree, families, kinds
    from loraloom.settings import resolve_base
    from loraloom.train import recipe

    base = resolve_base(str(options["base"]))
    family = families.detect(base)
    images = kinds.info(Kind(options.get("kind", Kind.CHARACTER))).recommended_from
    tree = config_tree.merge(
        {"data": {"folder": "."}}, options, *map(config_tree.parse_assignment, assignments)
    )
    return recipe.fill(tree, family.info, family.profile(base), images, preset)


def _as_tree(plan: Plan, config: TrainConfig) -> Tree:
    return {
        "card": plan.card,
        "device": plan.device,
        "available_mib": plan.available_mib,
        "steps": config.schedule.steps,
        "measures": [
            {
                "name": step.measure.name,
                "settings": step.measure.settings,
                "cost": step.measure.cost,
                "fits": step.fits,
                "peak_mib": step.estimate.peak_mib,
                "base_mib": step.estimate.base_mib,
                "adapter_mib": step.estimate.adapter_mib,
                "activations_mib": step.estimate.activations_mib,
                "samples_mib": step.estimate.samples_mib,
                "encoding_mib": step.estimate.encoding_mib,
                "disk_mib": step.estimate.disk_mib,
                "seconds_a_step": step.seconds_a_step,
            }
            for step in plan.steps
        ],
    }


def _show(plan: Plan, config: TrainConfig) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"{plan.card}: {plan.available_mib / 1024:.1f} GiB; memory in GiB:")
    drawn = any(step.estimate.samples_mib for step in plan.steps)
    extra = ["samples"] if drawn else []
    table = Table(
        "measure", "memory", "base", "adapter", "activations", *extra, "time", "cost", box=None
    )
    for step in plan.steps:
        found = step.estimate
        sizes = [found.peak_mib, found.base_mib, found.adapter_mib, found.activations_mib]
        sizes += [found.samples_mib] if drawn else []
        mark = "fits" if step.fits else "too much"
        table.add_row(
            f"{step.measure.name} ({mark})",
            *(f"{size / 1024:.2f}" for size in sizes),
            _time(step.seconds_a_step, config.schedule.steps),
            step.measure.cost,
        )
    console.print(table)
    disk = plan.steps[0].estimate.disk_mib
    console.print(f"Checkpoints and adapters take up to {disk:,} MiB on the disk.")
    chosen = plan.chosen
    if chosen is None:
        console.print("It does not fit: take a smaller base, a lower adapter.rank or another card.")
    elif chosen.measure.settings:
        settings = " ".join(f"--set {text}" for text in chosen.measure.settings)
        console.print(f"It fits with: {settings}", soft_wrap=True)
    else:
        console.print("It fits as it is.")


def _time(seconds_a_step: float | None, steps: int) -> str:
    if seconds_a_step is None:
        return "–"
    minutes = seconds_a_step * steps / 60
    return f"about {minutes:.0f} min" if minutes >= 1 else "under a minute"
