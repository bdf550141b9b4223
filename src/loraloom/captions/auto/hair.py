"""Whether a character's hair changes over a set, as far as taggers can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from loraloom.captions.auto import defaults
from loraloom.captions.reading import read
from loraloom.captions.stats import hairstyles


def changes(captions: Sequence[str]) -> bool:
    """Whether two hairstyles each stand in a good share of the captions, and hardly together.

    A tagger names several things about one head ("long hair, bangs"), so that two names alone do
    not mean two hairstyles. `captions` still say all that was seen.
    """
    limits = defaults.hair()
    named = [styles for caption in captions if (styles := hairstyles(read(caption)))]
    counts = Counter(style for styles in named for style in styles)
    often = [style for style, count in counts.items() if count >= limits.least_share * len(named)]
    return any(
        sum({one, other} <= styles for styles in named)
        < limits.most_together * min(counts[one], counts[other])
        for one, other in combinations(often, 2)
        if min(counts[one], counts[other]) > 1
    )
