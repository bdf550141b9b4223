"""What vision models are asked, from data/captions/*/prompts.toml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from loraloom.captions import vocabulary
from loraloom.captions.rules import BaseStyle, Style
from loraloom.kinds import Kind, read_data

PromptName = Literal[
    "standard", "detailed", "concise", "video", "tags", "tags-strict", "tags-batch", "hybrid"
]
Language = Literal["en", "zh-TW"]


@dataclass(frozen=True)
class Prompt:
    """One ready prompt, filled in."""

    name: PromptName
    style: Style
    pictures: int
    """How many pictures are shown at once, each for its own caption."""
    frames: int
    """How many frames of a clip are shown for one caption."""
    system: str
    question: str


@dataclass(frozen=True)
class Polish:
    """What models put around a caption, and how they refuse."""

    labels: tuple[str, ...]
    openings: tuple[str, ...]
    refusals: tuple[str, ...]
    asides: tuple[str, ...]


def prompt(name: PromptName, language: Language, kind: Kind, trigger: str, concept: str) -> Prompt:
    """The prompt for captions of one kind."""
    tables = read_data(f"captions/{language}/prompts")
    table, rules = tables["prompts"][name], tables["kinds"][kind.value]
    words = {
        "task": table["task"],
        "say": rules["say"],
        "leave_out": rules["leave_out"].replace("{concept}", concept or tables["the_concept"]),
        "subject": tables["with_trigger"] if trigger else tables["without_trigger"],
        "form": table["form"],
        "vocabulary": _vocabulary(language),
        "example": table["examples"].get(kind.value, "") if trigger else "",
    }
    text = tables["frame"]
    for key, words_of in words.items():
        text = text.replace("{" + key + "}", words_of)
    text = text.replace("{trigger}", trigger)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    shown = table.get("pictures", 1), table.get("frames", 1)
    return Prompt(name, table["style"], *shown, text, table["question"])


def name_for(base: BaseStyle | None) -> PromptName:
    """The prompt that suits a base: its style, or the standard one where none is named."""
    if base is None:
        return "standard"
    if base.video:
        return "video"
    by_style: dict[Style, PromptName] = {
        "tags": "tags", "hybrid": "hybrid", "sentences": "standard"
    }  # fmt: skip
    return by_style[base.style]


def _vocabulary(language: Language) -> str:
    """One line a category: its title and the terms to use."""
    titles = vocabulary.categories(language)
    comma = vocabulary.wording(language).comma
    return "\n".join(
        f"- {titles[category].title}: {comma.join(terms)}"
        for category, terms in read_data(f"captions/{language}/prompts")["vocabulary"].items()
    )


@cache
def polish() -> Polish:
    """What is taken off answers, in all languages."""
    found = [read_data(f"captions/{language}/prompts")["answers"] for language in ("en", "zh-TW")]
    return Polish(
        *(tuple(words for table in found for words in table[name])
          for name in ("labels", "openings", "refusals", "asides"))
    )  # fmt: skip
