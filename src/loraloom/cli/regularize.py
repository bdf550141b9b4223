"""`loraloom dataset regularize`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loraloom.cli.output import print_json
from loraloom.kinds import Kind

if TYPE_CHECKING:
    from loraloom.generate.regularize import Drawn

MAX_SEED = 2**62


def regularize(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="the set: a folder, NAME or NAME@HASH")
    ],
    base: Annotated[str, typer.Option(help="name or folder of the base that draws")] = "starter",
    kind: Annotated[Kind, typer.Option(help="what the set is to teach")] = Kind.CHARACTER,
    trigger: Annotated[
        str, typer.Option(help="the set's trigger; its class word makes the prompt")
    ] = "",
    class_prompt: Annotated[
        str, typer.Option(help='such as "a woman" (else: from trigger and kind)')
    ] = "",
    times: Annotated[
        int | None, typer.Option(min=1, max=5, help="class pictures for each picture of the set")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="how many in all, instead of --times")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="where to (else: out/class/SET)")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=64, max=4096, help="side in px (else: the base's own)")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="of the first picture")] = 0,
    steps: Annotated[int, typer.Option(min=1, max=200, help="denoising steps")] = 20,
    guidance: Annotated[float, typer.Option(min=0, max=50, help="guidance scale")] = 5.0,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="also for a style, a concept or a scene")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Let the base draw class pictures (regularisation images) for a set.

    Trained beside the set, they keep an adapter from turning every woman into yours. Killed, the
    same command goes on; with a higher count it adds.

    \b
    loraloom dataset regularize me --trigger "ohwx woman" --base ./sd15
    loraloom dataset regularize cups --kind object --class-prompt "a cup" --times 3
    loraloom dataset regularize me --class-prompt "a woman" --count 100 --out reg/woman
    """
    from loraloom.cli.bars import staged
    from loraloom.generate import regularize as drawing

    if times is not None and count is not None:
        raise typer.BadParameter("--times and --count exclude each other; give one of them")
    order = drawing.order(
        source, base, kind, trigger=trigger, class_prompt=class_prompt, count=count, times=times,
        resolution_px=resolution, seed=seed, steps=steps, guidance=guidance, anyway=anyway,
    )  # fmt: skip
    folder = out or Path("out/class") / Path(source.partition("@")[0]).resolve().name
    with staged(quiet=json) as progress:
        drawn = drawing.draw(order, folder, progress)
    if json:
        print_json(_as_json(drawn))
    else:
        named = {"--base": base, "--kind": kind.value, "--trigger": trigger}
        _show(drawn, source, {option: value for option, value in named.items() if value})


def _as_json(drawn: Drawn) -> dict[str, object]:
    return {
        "folder": drawn.folder,
        "prompt": drawn.prompt,
        "count": drawn.count,
        "new": drawn.new,
        "settings": {"prior.folder": drawn.folder},
    }


def _show(drawn: Drawn, source: str, options: Mapping[str, str]) -> None:
    import shlex

    new = f"{drawn.new} new" if drawn.new else "none new"
    print(f"{drawn.count} class pictures of '{drawn.prompt}' in {drawn.folder}, {new}.")
    given = [word for pair in options.items() for word in pair]
    command = ["loraloom", "train", source, *given, "--set", f"prior.folder={drawn.folder}"]
    print(f"Train with them: {shlex.join(command)}")
