"""What a set is made of, by its captions, against what the kind should be made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from loraloom.dataset.readiness import words
from loraloom.findings import Finding, Severity
from loraloom.kinds import Kind, read_data

MIN_CAPTIONS = 8
"""With fewer captions that say it, shares mean nothing."""


@dataclass(frozen=True)
class Part:
    """One part of a set: how many pictures it has and should have."""

    name: str
    count: int
    least: int
    most: int


def coverage(captions: Sequence[str], kind: Kind, trigger: str = "") -> list[Part]:
    """The parts of the kind's composition; empty for kinds that have none."""
    targets = read_data("composition").get(kind.value)
    if targets is None or not captions:
        return []
    counts: Counter[str] = Counter()
    for caption in captions:
        text = words.with_terms(caption, trigger)
        for part in targets["parts"]:
            if words.phrases_in(text, part["phrases"]):
                counts[part["name"]] += 1
                break
    share = len(captions) / targets["out_of"]
    return [
        Part(
            part["name"],
            counts[part["name"]],
            math.floor(part["least"] * share),
            math.ceil(part["most"] * share),
        )
        for part in targets["parts"]
    ]


def check(captions: Sequence[str], kind: Kind, trigger: str = "") -> list[Finding]:
    """Findings of composition and dominance, each about the whole set."""
    said = [caption for caption in captions if caption]
    if len(said) < MIN_CAPTIONS:
        return []
    found = _check_parts(coverage(said, kind, trigger), len(said))
    if kind is not Kind.SCENE:
        found += _check_backgrounds(said, kind, trigger)
    if kind is Kind.CHARACTER:
        found += _check_outfits(said, trigger)
    return found


def _check_parts(parts: Sequence[Part], captions: int) -> list[Finding]:
    known = sum(part.count for part in parts)
    if not parts or known < captions / 2:
        return []  # the captions do not tell; the caption check says so
    return [
        Finding(
            "composition",
            Severity.WARNING if part.count == 0 else Severity.HINT,
            "",
            f"{_pictures(part.count)} of {part.name}; {_range(part)} would be balanced.",
            float(part.count),
            f"{part.least}-{part.most}",
            f"Add {_pictures(part.least - part.count)} of {part.name}.",
        )
        for part in parts
        if part.count < part.least
    ]


def _check_backgrounds(captions: Sequence[str], kind: Kind, trigger: str) -> list[Finding]:
    backgrounds = (words.background(caption, trigger) for caption in captions)
    named = [found for found in backgrounds if found]
    if len(named) < max(MIN_CAPTIONS, len(captions) / 2):
        return []
    limits = read_data("composition")["dominance"]
    (name, simple), count = Counter(named).most_common(1)[0]
    share = count / len(named)
    most = limits["simple_background" if simple else "context_background"]
    if share > most:
        return [_dominant("background-dominant", name, share, most, "background")]
    plain = sum(simple for _, simple in named) / len(named)
    if kind is not Kind.CHARACTER or limits["simple_from"] <= plain <= limits["simple_to"]:
        return []
    fix = "Add pictures with simple backgrounds." if plain < 0.6 else "Add pictures of places."
    return [
        Finding(
            "composition",
            Severity.HINT,
            "",
            f"{plain:.0%} of the backgrounds are simple; 60-70% keep the subject apart from them.",
            round(plain, 3),
            "0.6-0.7",
            fix,
        )
    ]


def _check_outfits(captions: Sequence[str], trigger: str) -> list[Finding]:
    named = words.outfits(captions, trigger)
    total = named.total()
    if total < max(MIN_CAPTIONS, len(captions) / 2):
        return []
    limits = read_data("composition")["dominance"]
    name, count = named.most_common(1)[0]
    share = count / total
    if share > limits["outfit"]:
        return [_dominant("outfit-dominant", name, share, limits["outfit"], "outfit")]
    outfits, wanted = len(named), math.floor(limits["outfits_per_picture"] * total)
    if outfits >= min(wanted, 10):
        return []
    return [
        Finding(
            "composition",
            Severity.HINT,
            "",
            f"{outfits} outfits in {total} pictures; with so few they become part of the "
            "character.",
            float(outfits),
            float(min(wanted, 10)),
            "Add pictures with other clothes.",
        )
    ]


def _dominant(code: str, name: str, share: float, most: float, what: str) -> Finding:
    return Finding(
        code,
        Severity.WARNING,
        "",
        f"{share:.0%} of the captions have the {what} “{name}”: the adapter will learn it too.",
        round(share, 3),
        most,
        f"Add pictures with another {what}, or take some of these out.",
    )


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"


def _range(part: Part) -> str:
    return str(part.least) if part.least == part.most else f"{part.least} to {part.most}"
