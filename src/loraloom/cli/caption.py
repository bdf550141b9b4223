"""`loraloom caption`: check captions, mend them, change many at once, count, convert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloom.cli import caption_auto
from loraloom.cli.caption_view import show_edits, show_findings, show_fixes, show_stats
from loraloom.cli.output import messages, print_json
from loraloom.errors import CaptionEditInvalid

if TYPE_CHECKING:
    from loraloom.captions.lint import Check
    from loraloom.captions.tokens import Counter

app = typer.Typer(help="Make, check, mend, edit, count and convert captions.", no_args_is_help=True)
app.command()(caption_auto.auto)
KindName = Literal["character", "style", "object", "concept", "scene"]
Source = Annotated[
    str,
    typer.Argument(metavar="SET", help="folder of pictures with captions beside, or a stored set"),
]
KindOption = Annotated[KindName, typer.Option("--kind", "-k", help="what the adapter learns")]
Trigger = Annotated[str, typer.Option("--trigger", "-t", help="the words that call the subject")]
Concept = Annotated[str, typer.Option(help="the concept's own words, such as 'double exposure'")]
Base = Annotated[str, typer.Option(help="base by name or folder: its caption style and tokenizer")]
Hair = Annotated[
    Literal["auto", "one", "several"],
    typer.Option("--hairstyles", help="whether the character wears several hairstyles"),
]
Json = Annotated[bool, typer.Option("--json", help="one line of JSON")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show what would change, write nothing")]


@app.command()
def lint(
    source: Source,
    kind: KindOption,
    trigger: Trigger = "",
    concept: Concept = "",
    base: Base = "",
    hairstyles: Hair = "auto",
    json: Json = False,
) -> None:
    """Say what is wrong with the captions; exits 1 when something blocks training.

    \b
    loraloom caption lint photos --kind character --trigger "ohwx woman"
    loraloom caption lint drawings --kind style --trigger mystyle --base starter --json
    loraloom caption lint hats --kind object
    """
    from loraloom import findings
    from loraloom.captions import lint as checks
    from loraloom.captions.target import by_trigger, find_target, with_trigger

    check, counter = _check(kind, trigger, concept, base, hairstyles), _counter(base)
    items = with_trigger(find_target(source, writing=False).items(), check.trigger)
    found = []
    for own, captions in by_trigger(items).items():
        found += checks.lint(captions, replace(check, trigger=own), counter)
    if json:
        print_json(findings.as_json(found))
    else:
        show_findings(found, len(items))
    if findings.blocks_training(found):
        raise typer.Exit(1)


@app.command()
def fix(
    source: Source,
    kind: KindOption,
    trigger: Trigger = "",
    concept: Concept = "",
    base: Base = "",
    hairstyles: Hair = "auto",
    assume: Annotated[
        list[str] | None,
        typer.Option(help="what to write where a caption does not tell: CATEGORY=TERM, or 'none'"),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Mend what lint finds: leaks out, standard terms in, the trigger first.

    What a caption does not tell is filled with neutral terms, which are listed as assumed: look
    at those pictures. `loraloom caption edit SET --undo` takes everything back.

    \b
    loraloom caption fix photos --kind character --trigger "ohwx woman" --dry-run
    loraloom caption fix photos -k character -t "ohwx woman" --assume "lighting=studio lighting"
    loraloom caption fix photos -k character -t "ohwx woman" --assume none
    """
    from loraloom import findings
    from loraloom.captions import fix as fixes
    from loraloom.captions import lint
    from loraloom.captions.target import by_trigger, find_target, with_trigger, write_named

    check, counter = _check(kind, trigger, concept, base, hairstyles), _counter(base)
    target = find_target(source, writing=not dry_run)
    items = with_trigger(target.items(), check.trigger)
    assumed = _pairs([pair for pair in assume or [] if pair != "none"], "--assume")
    may_assume = "none" not in (assume or [])
    fixed, left = [], []
    for own, captions in by_trigger(items).items():
        check = replace(check, trigger=own)
        done = fixes.fix(captions, check, assumed, may_assume=may_assume, counter=counter)
        left += lint.lint([lint.Captioned(f.item, f.after) for f in done], check, counter)
        fixed += done
    if not dry_run:
        write_named(target, items, {f.item: f.after for f in fixed if f.changed}, "fix")
    if json:
        shown = [asdict(f) for f in fixed if f.changed]
        print_json({"fixed": shown, "written": not dry_run, **findings.as_json(left)})
        return
    show_fixes(fixed, undo=None if dry_run else target.undo_command)
    show_findings(left, len(items), after="after the fix")


@app.command("edit")
def edit_captions(
    source: Source,
    replace_text: Annotated[
        list[str] | None, typer.Option("--replace", help="text A=B, as whole words")
    ] = None,
    rename: Annotated[list[str] | None, typer.Option(help="tag A=B")] = None,
    add: Annotated[list[str] | None, typer.Option(help="tag to add at the end")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="tag to remove")] = None,
    first: Annotated[list[str] | None, typer.Option(help="tag to move to the front")] = None,
    match: Annotated[str, typer.Option(help="only captions or files with this text")] = "",
    trigger: Trigger = "",
    undo: Annotated[bool, typer.Option("--undo", help="take the last change back")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Change the captions of a whole set, or of those that hold some text.

    \b
    loraloom caption edit photos --replace "t shirt=t-shirt" --remove solo --remove 1girl
    loraloom caption edit photos --match beach --add "natural lighting" --dry-run
    loraloom caption edit photos --first "front view" --trigger "ohwx woman"
    loraloom caption edit photos --undo
    """
    from loraloom.captions import edit
    from loraloom.captions.target import by_trigger, find_target, with_trigger, write_named

    target = find_target(source, writing=not dry_run)
    if undo:
        what, count = target.undo()
        if json:
            print_json({"undone": what, "captions": count})
        else:
            messages.print(f"Took back '{what}': {count} captions are as before")
        return
    change = edit.Edit(
        replace=tuple(_pairs(replace_text, "--replace").items()),
        rename=tuple(_pairs(rename, "--rename").items()),
        remove=tuple(remove or ()),
        add=tuple(add or ()),
        first=tuple(first or ()),
        match=match,
        trigger=trigger,
    )
    if change.is_empty:
        raise CaptionEditInvalid("Say what to change: --replace A=B, --add, --remove, --first ...")
    items = with_trigger(target.items(), change.trigger)
    edited = []
    for own, captions in by_trigger(items).items():
        edited += edit.edit(captions, replace(change, trigger=own))
    if not dry_run:
        write_named(target, items, {e.item: e.after for e in edited}, "edit")
    if json:
        print_json({"edited": [asdict(e) for e in edited], "written": not dry_run})
        return
    show_edits(edited, undo=None if dry_run else target.undo_command)


@app.command()
def stats(source: Source, trigger: Trigger = "", json: Json = False) -> None:
    """Count tags, categories and outfits over the captions.

    \b
    loraloom caption stats photos --trigger "ohwx woman"
    """
    from loraloom.captions import stats as figures
    from loraloom.captions.target import find_target, with_trigger

    items = with_trigger(find_target(source, writing=False).items(), trigger.strip())
    said = [item for item in items if item.caption]
    found = figures.count([item.caption for item in said], [item.trigger for item in said])
    if json:
        print_json(asdict(found))
        return
    show_stats(found)


@app.command()
def convert(
    source: Source,
    to: Annotated[Literal["tags", "hybrid", "sentences"], typer.Option(help="caption style")],
    trigger: Trigger = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Turn tags into sentences or sentences into tags, as the base likes them.

    \b
    loraloom caption convert photos --to sentences --trigger "ohwx woman" --dry-run
    """
    from loraloom.captions import sentences
    from loraloom.captions.edit import Edited
    from loraloom.captions.target import find_target, with_trigger, write_named

    target = find_target(source, writing=not dry_run)
    items = with_trigger(target.items(), trigger.strip())
    edited = [
        Edited(item.name, item.caption, after)
        for item in items
        if item.caption
        and (after := sentences.convert(item.caption, to, item.trigger)) != item.caption
    ]
    if not dry_run:
        write_named(target, items, {e.item: e.after for e in edited}, f"convert to {to}")
    if json:
        print_json({"edited": [asdict(e) for e in edited], "written": not dry_run})
        return
    show_edits(edited, undo=None if dry_run else target.undo_command)


def _check(
    kind: str, trigger: str, concept: str, base: str, hair: Literal["auto", "one", "several"]
) -> Check:
    from loraloom.captions import rules
    from loraloom.captions.lint import Check
    from loraloom.kinds import Kind

    found = rules.base_style(base) if base else rules.BaseStyle("", "tags", False)
    return Check(Kind(kind), trigger.strip(), concept.strip(), found.style, found.video, hair)


def _counter(base: str) -> Counter | None:
    """The tokenizer of a base that is installed; None for one known by its name alone."""
    from loraloom.captions import tokens
    from loraloom.errors import BaseUnknown
    from loraloom.settings import resolve_base

    if not base:
        return None
    try:
        resolve_base(base)
    except BaseUnknown:
        messages.print(f"{base} is not installed: tokens are not counted")
        return None
    return tokens.counter(base)


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        left, sign, right = text.partition("=")
        if not sign or not left.strip():
            raise CaptionEditInvalid(f"{option} {text!r} is not of the form A=B")
        pairs[left.strip()] = right.strip()
    return pairs
