"""The tags that the starter's tagger knows: the phrases of the starter world's captions.

They stand in `selected_tags.csv` in the order in which `scene.caption` says them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from loraloom.starter.world.scene import (
    ATTRIBUTES,
    CAPTION_ORDER,
    COLOURS,
    HELD_OUT,
    PEOPLE,
    Scene,
    context_phrases,
    identity_phrase,
    visible,
)

UNSAID = ("mark", "headpiece", "pattern")
"""Attributes that no caption of the starter world says, and that can be seen all the same."""


@dataclass(frozen=True)
class Tag:
    """One tag: its words, the attribute it tells, and that attribute's values."""

    name: str
    group: str
    """What it is counted under: the attribute; "garment" and "thing" with their colour, or
    bare, where a style has none."""
    values: tuple[str, ...]
    """One value, or the colour and the thing."""


def _tags() -> tuple[Tag, ...]:
    things = [name for name in ATTRIBUTES["subject"] if name not in PEOPLE]
    found = [Tag(name, "person", (name,)) for name in PEOPLE]
    found += [Tag(f"{c} {t}", "thing", (c, t)) for c, t in product(COLOURS, things)]
    found += [Tag(name, "bare thing", (name,)) for name in things]
    for name in ("skin", "hair_colour", "hair_style", *UNSAID, *CAPTION_ORDER):
        if name == "garment":
            pairs = product(ATTRIBUTES["garment_colour"], ATTRIBUTES["garment"])
            found += [Tag(f"{c} {g}", "garment", (c, g)) for c, g in pairs]
            found += [Tag(g, "bare garment", (g,)) for g in ATTRIBUTES["garment"]]
            continue
        values = ATTRIBUTES.get(name, ()) + HELD_OUT.get(name, ())
        found += [Tag(value, name, (value,)) for value in values if value]
    return tuple(found)


TAGS = _tags()
"""Every tag, in the order of the file and of the network's answer."""


def true_tags(scene: Scene) -> frozenset[str]:
    """The tags that a picture of `scene` deserves."""
    said = {*identity_phrase(scene).split(", "), *context_phrases(scene)}
    seen = {scene[name] for name in UNSAID if visible(scene, name) and scene[name]}
    return frozenset(said | seen)
