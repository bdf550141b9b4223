"""`loraloom train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloom.cli.output import STOPPED, command_line, messages
from loraloom.errors import FolderMissing, LoraloomError
from loraloom.kinds import Kind

if TYPE_CHECKING:
    from loraloom.config import TrainConfig, Tree
    from loraloom.train.events import Event

Preset = Literal["beginner", "standard", "expert"]

BaseName = Annotated[
    str | None, typer.Option(help="name or folder of the base model (else: starter)")
]
KindName = Annotated[Kind | None, typer.Option(help="what is learnt (else: character)")]
Trigger = Annotated[
    str | None, typer.Option(help="words that call what is learnt; put into captions if absent")
]
PresetName = Annotated[Preset, typer.Option(help="where the defaults come from")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=V", help="any setting; repeat for several")
]


def train(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG.toml|FOLDER|NAME[@SNAPSHOT]|RUN",
            help="settings, a folder of captioned pictures, a stored dataset, or a run's folder",
        ),
    ],
    base: BaseName = None,
    kind: KindName = None,
    trigger: Trigger = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for the run (else: out/NAME-OF-SOURCE)")
    ] = None,
    preset: PresetName = "standard",
    assignments: Assignments = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON an event")] = False,
) -> None:
    """Train an adapter on a folder of pictures, each with a .txt caption beside it.

    \b
    loraloom train my-pictures --kind character --trigger "ohwx woman" --out out/mine
    loraloom train my-pictures --set adapter.rank=8 --set schedule.steps=800
    loraloom train cups@3f2a91c0
    loraloom train out/mine --resume
    torchrun --nproc-per-node 2 --no-python loraloom train settings.toml
    """
    options = chosen(base, kind, trigger)
    with telling_programs(json):
        config = complete(read_source(source), options, assignments or [], preset)
        usual = source if is_run(source) else Path("out") / source.resolve().stem
        run(config, out or usual, resume=resume, json=json)


@contextmanager
def telling_programs(json: bool) -> Iterator[None]:
    """With --json, what the user can fix is also told as an event, by the name of its class."""
    try:
        yield
    except LoraloomError as error:
        if json:
            from loraloom.train.events import Failed

            print(Failed(type(error).__name__, str(error)).to_json(), flush=True)
        raise


def is_run(source: Path) -> bool:
    """Whether a run has begun in this folder."""
    return (source / "run.json").is_file()


def read_source(source: Path) -> Tree:
    """The settings that a TOML file, a folder, a dataset or a run stands for, not yet complete."""
    from loraloom import config_tree
    from loraloom.dataset import reference

    if is_run(source):
        return config_tree.read_toml(source / "config.toml")
    if source.is_dir() or reference.is_stored(source):
        return {"data": {"folder": str(source)}}
    if not source.exists():
        raise FolderMissing(
            f"{source} does not exist; name a folder of pictures, a stored dataset or a TOML file"
        )
    return config_tree.read_toml(source)


def chosen(base: str | None, kind: Kind | None, trigger: str | None = None) -> dict[str, str]:
    """The settings that these options stand for, where they were given."""
    given = {"base": base, "kind": kind and kind.value, "trigger": trigger}
    return {name: value for name, value in given.items() if value is not None}


def complete(
    tree: Tree, options: dict[str, str], assignments: list[str], preset: Preset
) -> TrainConfig:
    """All settings: those of the source, then options, then --set; the recipe fills the rest."""
    from loraloom import config_tree
    from loraloom.train import recipe

    settings = config_tree.merge(tree, options, *map(config_tree.parse_assignment, assignments))
    return recipe.resolve(settings, preset=preset)


def run(config: TrainConfig, out: Path, *, resume: bool, json: bool) -> None:
    """Train to the end; on Ctrl-C say how to go on and leave with status 130.

    The run's folder knows its settings: a stored dataset may have been edited since.
    """
    from loraloom import train
    from loraloom.cli.progress import asked_to_stop, print_events, show_events
    from loraloom.train.events import Finished
    from loraloom.train.processes import is_first

    first = is_first()  # of those that torchrun started; the others train along in silence
    last: Event | None = None
    with suppress(KeyboardInterrupt):
        events = train.run(config, out, resume=resume, stop=asked_to_stop())
        show = print_events if json else show_events
        last = show(events) if first else list(events)[-1]
    if first and not isinstance(last, Finished):
        again = f"loraloom train {quote(str(out))} --resume" if is_run(out) else command_line()
        messages.print(f"Stopped. To go on: {again}", markup=False, soft_wrap=True)
        raise typer.Exit(STOPPED)
