"""What commands share in talking to people and programs."""

from __future__ import annotations

import json
import shlex
import sys

from rich.console import Console

from loraloom.dataset.source import shown_name

STOPPED = 130
"""The exit status that shells report for Ctrl-C."""

messages = Console(stderr=True, highlight=False)
"""Progress and hints; results go to standard output."""


def print_json(value: object) -> None:
    """One line of JSON on standard output; paths as text."""
    print(json.dumps(value, default=str, ensure_ascii=False), flush=True)


def printable(text: str) -> str:
    """`text` with a sign in place of what a terminal would obey: escapes, turned direction."""
    return "\n".join(shown_name(line) for line in text.split("\n"))


def command_line() -> str:
    """The command as it was typed, to be shown to the user."""
    return shlex.join(["loraloom", *sys.argv[1:]])
