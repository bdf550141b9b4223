"""Concepts that run into each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from loraloom.dataset.readiness.duplicates import Pair
from loraloom.dataset.readiness.listing import Picture
from loraloom.findings import Finding, Severity


def foreign_triggers(pictures: Sequence[Picture], triggers: Mapping[str, str]) -> Iterator[Finding]:
    """Captions that name another concept's trigger."""
    for picture in pictures:
        own = triggers.get(picture.concept, "")
        for concept, trigger in triggers.items():
            if concept == picture.concept or not trigger or trigger.casefold() == own.casefold():
                continue
            text = re.sub(re.escape(own), " ", picture.caption, flags=re.I) if own else ""
            if re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", text or picture.caption, re.I):
                yield Finding(
                    "concept-overlap",
                    Severity.WARNING,
                    picture.name,
                    f"The caption names “{trigger}”, which is the trigger of {_title(concept)}.",
                    trigger,
                    own or None,
                    "Take the other trigger out, or the picture into its own concept.",
                )


def shared_pictures(pictures: Sequence[Picture], pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Copies of one picture under two concepts."""
    for pair in pairs:
        first, second = pictures[pair.first], pictures[pair.second]
        if first.concept != second.concept:
            yield Finding(
                "concept-overlap",
                Severity.WARNING,
                second.name,
                f"The same picture is {first.name}, of another concept.",
                round(pair.difference, 3),
                None,
                "Keep it in one concept only, or the concepts will look alike.",
            )


def _title(concept: str) -> str:
    return f"the concept “{concept}”" if concept else "the pictures outside of subfolders"
