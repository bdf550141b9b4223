"""How `loraloom caption` shows findings and changes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loraloom.cli.output import messages, printable

if TYPE_CHECKING:
    from loraloom.captions.edit import Edited
    from loraloom.captions.fix import Fixed
    from loraloom.captions.stats import Stats
    from loraloom.findings import Finding


def show_findings(found: Sequence[Finding], captions: int, after: str = "") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if found:
        table = Table("", "caption", "code", "what", "fix", box=None, header_style="bold")
        for finding in found:
            item, message, fix = map(printable, (finding.item, finding.message, finding.fix))
            where = Text(item or "the set")
            table.add_row(finding.severity.value, where, finding.code, Text(message), Text(fix))
        Console().print(table)
    words = f"{len(found)} findings" if found else "nothing to mend"
    messages.print(" ".join(filter(None, (f"{captions} captions, {words}", after))))


def show_fixes(fixed: Sequence[Fixed], *, undo: str | None) -> None:
    """What was mended; `undo`: the command that takes it back, None where nothing was written."""
    from rich.text import Text

    for each in fixed:
        if each.changed:
            show_diff(each.item, each.before or "", each.after)
        if each.assumed:
            words = ", ".join(each.assumed)
            messages.print(Text(f"  assumed, look at the picture: {words}", style="yellow"))
    _tell(sum(each.changed for each in fixed), undo)


def show_edits(edited: Sequence[Edited], *, undo: str | None) -> None:
    """What was changed; `undo` as in `show_fixes`."""
    for each in edited:
        show_diff(each.item, each.before, each.after)
    _tell(len(edited), undo)


def show_diff(item: str, before: str, after: str) -> None:
    lines = difflib.unified_diff([before], [after], item, item, lineterm="", n=0)
    for line in lines:
        if not line.startswith("@@"):
            print(printable(line))


def _tell(count: int, undo: str | None) -> None:
    if undo is None:
        messages.print(f"{count} captions would change; nothing was written")
    else:
        hint = f"; `{undo}` takes it back" if count else ""
        messages.print(f"{count} captions changed{hint}", markup=False, soft_wrap=True)


def show_stats(found: Stats) -> None:
    """The most frequent tags, categories and outfits as tables."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    counted = (("tag", found.phrases), ("category", found.categories), ("outfit", found.outfits))
    for title, counts in counted:
        table = Table(title, "captions", box=None, header_style="bold")
        for words, number in list(counts.items())[:40]:
            said = words.replace("_", " ") if title == "category" else words
            table.add_row(Text(said), f"{number} of {found.captions}")
        Console().print(table)
