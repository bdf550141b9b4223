"""`loraloom caption auto`: captions by a tagger, Florence-2, or a vision model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloom.cli.bars import staged
from loraloom.cli.output import STOPPED, command_line, messages, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loraloom.captions.auto.run import Done, Progress

SHOWN = 5
KindName = Literal["character", "style", "object", "concept", "scene"]
PromptName = Literal[
    "standard", "detailed", "concise", "video", "tags", "tags-strict", "tags-batch", "hybrid"
]


def auto(
    pictures: Annotated[
        str, typer.Argument(metavar="FOLDER|NAME", help="pictures, or a stored dataset")
    ] = "",
    kind: Annotated[
        KindName | None, typer.Option("--kind", "-k", help="what the adapter learns")
    ] = None,
    trigger: Annotated[
        str, typer.Option("--trigger", "-t", help="the words that call the subject")
    ] = "",
    tagger: Annotated[
        str,
        typer.Option(
            metavar="NAME|FOLDER|HUB-ID",
            help="wd-swinv2-tagger-v3 (usual), starter (usual with --base starter), florence-2 …",
        ),
    ] = "",
    provider: Annotated[
        str, typer.Option(metavar="ADDRESS", help="a vision model, OpenAI-compatible")
    ] = "",
    model: Annotated[str, typer.Option(help="the model at that address")] = "",
    key_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="environment variable with the address's key")
    ] = "",
    prompt: Annotated[
        PromptName | None, typer.Option(help="how much to say, and how (else: as the base likes)")
    ] = None,
    language: Annotated[
        Literal["en", "zh-TW"], typer.Option(help="of prompt and captions; with --provider")
    ] = "en",
    base: Annotated[
        str, typer.Option(help="base by name or folder: its caption style (else: as answered)")
    ] = "",
    concept: Annotated[
        str, typer.Option(help="the concept's own words, such as 'double exposure'")
    ] = "",
    hairstyles: Annotated[
        Literal["auto", "one", "several"],
        typer.Option(help="whether the character wears several hairstyles"),
    ] = "auto",
    threshold: Annotated[
        float | None, typer.Option(help="how sure a tag must be (else: 0.35; 0.5 is strict)")
    ] = None,
    per_minute: Annotated[
        float, typer.Option(min=0, show_default=False, help="requests a minute at most")
    ] = 0.0,
    timeout: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", show_default=False, help="to wait for an answer (else: 120)"
        ),
    ] = 0.0,
    replace: Annotated[
        bool,
        typer.Option("--replace/--only-missing", help="captions that are there too (else: not)"),
    ] = False,
    order: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml", help="all that is to be done, in place of the other options"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False,
) -> None:
    """Describe pictures: trigger first, standard terms, nothing that the adapter should learn.

    A run that was stopped goes on when it is started again; all captions are written at the end,
    in one step that can be taken back. A picture that fails is listed, and the exit status is 1.

    \b
    loraloom caption auto photos --kind character --trigger "ohwx woman"
    loraloom caption auto cups -k object -t myproduct --tagger SmilingWolf/wd-vit-tagger-v3
    loraloom caption auto photos -k style -t mystyle --tagger florence-2 --base flux
    loraloom caption auto photos -k character -t "ohwx woman" \\
        --provider http://127.0.0.1:11434/v1 --model llava --base flux
    loraloom caption auto photos -k scene -t myscene --provider https://api.openai.com/v1 \\
        --model gpt-4o-mini --key-env OPENAI_API_KEY --per-minute 30 --language zh-TW
    """
    if order is not None:
        _describe_order(order, json=json)
        return
    if not pictures or kind is None:
        raise typer.BadParameter("name a folder or a stored dataset, and its --kind")
    from loraloom.captions.auto import run, source
    from loraloom.captions.auto.choice import Choice, open_choice, tagger_name
    from loraloom.captions.measure import Check
    from loraloom.captions.target import find_target
    from loraloom.kinds import Kind

    target = find_target(pictures)
    choice = Choice(
        tagger, provider, model, key_env, prompt, language, threshold, per_minute, timeout
    )
    check = Check(Kind(kind), trigger.strip(), concept.strip(), hairstyles=hairstyles)
    if not (json or provider or source.is_here(tagger_name(choice, base))):
        messages.print(f"Fetching {tagger_name(choice, base)} from the hub", markup=False)
    captioner, how = open_choice(choice, check, base)
    if not json:
        messages.print(f"Asking {captioner.name}", markup=False)
    try:
        done = _follow(run.describe(target, captioner, how, replacing=replace), quiet=json)
    except KeyboardInterrupt:
        messages.print(f"Stopped. To go on: {command_line()}", markup=False)
        raise typer.Exit(STOPPED) from None
    _tell_json(done) if json else _tell(done, target.undo_command)
    if done.failed:
        raise typer.Exit(1)


def _describe_order(path: Path, *, json: bool) -> None:
    """What a job of the studio does; docs/jobs.md tells the events."""
    from loraloom.captions.auto import order as orders
    from loraloom.captions.auto.job import do
    from loraloom.cli.train import telling_programs
    from loraloom.train.stop import StopRequest

    with telling_programs(json), StopRequest() as stop:
        done = do(orders.read(path), stop, print_json if json else lambda event: None)
    if done is None:
        raise typer.Exit(STOPPED)
    if not json:
        messages.print(f"{len(done.captions)} captions written", markup=False)


def _follow(happenings: Iterator[Progress | Done], *, quiet: bool) -> Done:
    """The end of the run, with a bar on the way."""
    from loraloom.captions.auto.run import Done

    with staged(quiet=quiet) as show:
        for event in happenings:
            if isinstance(event, Done):
                return event
            show("describing", event.done, event.total)
    raise AssertionError("a run ends with Done")


def _tell(done: Done, undo_command: str) -> None:
    for name, caption in list(done.captions.items())[:SHOWN]:
        messages.print(f"  {name}: {caption}", markup=False, style="dim", soft_wrap=True)
    if len(done.captions) > SHOWN:
        messages.print(f"  … and {len(done.captions) - SHOWN} more")
    for each in done.failed:
        messages.print(
            f"no caption: {each.item}: {each.reason}", markup=False, style="red", soft_wrap=True
        )
    for message, count in Counter(finding.message for finding in done.findings).most_common(SHOWN):
        messages.print(f"look at {count}: {message}", markup=False, style="yellow", soft_wrap=True)
    kept = f"; {done.skipped} had captions (--replace makes them anew)" if done.skipped else ""
    failed = f", {len(done.failed)} failed (the same command tries them again)"
    messages.print(
        f"{len(done.captions)} captions written{failed if done.failed else ''}{kept}", markup=False
    )
    if done.captions:
        messages.print(f"To take them back: {undo_command}", markup=False)


def _tell_json(done: Done) -> None:
    from dataclasses import asdict

    print_json(
        {
            "captions": done.captions,
            "failed": [asdict(failed) for failed in done.failed],
            "skipped": done.skipped,
            "findings": [asdict(finding) for finding in done.findings],
        }
    )
