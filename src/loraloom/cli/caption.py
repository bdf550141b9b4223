"""`loraloom caption`: check captions, mend them, change many at once, count, convert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloom.cli import caption_auto
from loraloom.cli.caption_view import show_diff, show_findings, show_fixes, show_stats, tell
from loraloom.cli.output import messages, print_json
from loraloom.errors import CaptionEditInvalid

if TYPE_CHECKING:
    from loraloom.captions.lint import Check
    from loraloom.captions.tokens import Counter

app = typer.Typer(help="Make, check, mend, edit, count and convert captions.", no_args_is_help=True)
app.command()(caption_auto.auto)
KindName = Literal["character", "style", "object", "concept", "scene"]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="pictures with captions beside")]
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
    folder: Folder,
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
    """
    from loraloom import findings
    from loraloom.captions import folder as captions
    from loraloom.captions import lint as checks

    check, counter = _check(kind, trigger, concept, base, hairstyles), _counter(base)
    files = captions.read_captions(folder)
    found = checks.lint([file.captioned for file in files], check, counter)
    if json:
        print_json(findings.as_json(found))
    else:
        show_findings(found, len(files))
    if findings.blocks_training(found):
        raise typer.Exit(1)


@app.command()
def fix(
    folder: Folder,
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
    at those pictures. `loraloom caption edit FOLDER --undo` takes everything back.

    \b
    loraloom caption fix photos --kind character --trigger "ohwx woman" --dry-run
    loraloom caption fix photos -k character -t "ohwx woman" --assume "lighting=studio lighting"
    loraloom caption fix photos -k character -t "ohwx woman" --assume none
    """
    from loraloom import findings
    from loraloom.captions import edit, lint
    from loraloom.captions import fix as fixes
    from loraloom.captions import folder as captions

    check, counter = _check(kind, trigger, concept, base, hairstyles), _counter(base)
    files = captions.read_captions(folder)
    fixed = fixes.fix(
        [file.captioned for file in files],
        check,
        _pairs([pair for pair in assume or [] if pair != "none"], "--assume"),
        may_assume="none" not in (assume or []),
        counter=counter,
    )
    after = {f.item: f.after for f in fixed if f.changed}
    left = lint.lint([lint.Captioned(f.item, f.after) for f in fixed], check, counter)
    if not dry_run:
        edit.save(folder, files, after, "fix")
    if json:
        shown = [asdict(f) for f in fixed if f.changed]
        print_json({"fixed": shown, "written": not dry_run, **findings.as_json(left)})
        return
    show_fixes(fixed, dry_run=dry_run)
    show_findings(left, len(files), after="after the fix")


@app.command("edit")
def edit_captions(
    folder: Folder,
    replace: Annotated[list[str] | None, typer.Option(help="text A=B, as whole words")] = None,
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
    """Change the captions of a whole folder, or of those that hold some text.

    \b
    loraloom caption edit photos --replace "t shirt=t-shirt" --remove solo --remove 1girl
    loraloom caption edit photos --match beach --add "natural lighting" --dry-run
    loraloom caption edit photos --first "front view" --trigger "ohwx woman"
    loraloom caption edit photos --undo
    """
    from loraloom.captions import edit, journal
    from loraloom.captions import folder as captions

    if undo:
        what, count = journal.undo(folder)
        if json:
            print_json({"undone": what, "captions": count})
        else:
            messages.print(f"Took back '{what}': {count} captions are as before")
        return
    change = edit.Edit(
        replace=tuple(_pairs(replace, "--replace").items()),
        rename=tuple(_pairs(rename, "--rename").items()),
        remove=tuple(remove or ()),
        add=tuple(add or ()),
        first=tuple(first or ()),
        match=match,
        trigger=trigger,
    )
    if change.is_empty:
        raise CaptionEditInvalid("Say what to change: --replace A=B, --add, --remove, --first ...")
    files = captions.read_captions(folder)
    edited = edit.edit(files, change)
    if not dry_run:
        edit.save(folder, files, {e.item: e.after for e in edited}, "edit")
    if json:
        print_json({"edited": [asdict(e) for e in edited], "written": not dry_run})
        return
    for each in edited:
        show_diff(each.item, each.before, each.after)
    tell(len(edited), dry_run=dry_run)


@app.command()
def stats(folder: Folder, trigger: Trigger = "", json: Json = False) -> None:
    """Count tags, categories and outfits over the captions.

    \b
    loraloom caption stats photos --trigger "ohwx woman"
    """
    from loraloom.captions import folder as captions
    from loraloom.captions import stats as figures

    files = captions.read_captions(folder)
    found = figures.count([file.caption for file in files if file.caption], trigger)
    if json:
        print_json(asdict(found))
        return
    show_stats(found)


@app.command()
def convert(
    folder: Folder,
    to: Annotated[Literal["tags", "hybrid", "sentences"], typer.Option(help="caption style")],
    trigger: Trigger = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Turn tags into sentences or sentences into tags, as the base likes them.

    \b
    loraloom caption convert photos --to sentences --trigger "ohwx woman" --dry-run
    """
    from loraloom.captions import edit, sentences
    from loraloom.captions import folder as captions

    files = captions.read_captions(folder)
    done = {f.name: sentences.convert(f.caption, to, trigger) for f in files if f.caption}
    edited = [
        edit.Edited(f.name, f.caption, done[f.name])
        for f in files
        if f.caption and f.caption != done[f.name]
    ]
    if not dry_run:
        edit.save(folder, files, {e.item: e.after for e in edited}, f"convert to {to}")
    if json:
        print_json({"edited": [asdict(e) for e in edited], "written": not dry_run})
        return
    for each in edited:
        show_diff(each.item, each.before, each.after)
    tell(len(edited), dry_run=dry_run)


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
