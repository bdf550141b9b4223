"""Which of the things that captions of a kind must tell each caption of a set leaves out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from loraloom.captions import bulk, rules
from loraloom.captions.measure import Check, missing_categories
from loraloom.captions.reading import read
from loraloom.captions.stats import hairstyles, means_several
from loraloom.dataset.snapshot import Contents, Picture
from loraloom.kinds import Kind


@dataclass(frozen=True)
class Row:
    """One picture, and what its caption does not tell."""

    picture: Picture
    missing: frozenset[str]


@dataclass(frozen=True)
class Matrix:
    """The pictures of a set against the things to be told."""

    facets: tuple[str, ...]
    """Categories, such as "eye_direction"; empty for kinds that ask for none."""
    rows: tuple[Row, ...]
    """In the order of the dataset."""

    @cached_property
    def incomplete(self) -> tuple[Row, ...]:
        """Those that leave something out."""
        return tuple(row for row in self.rows if row.missing)


def matrix(contents: Contents, kind: Kind, base: str) -> Matrix:
    """All pictures; of one without caption everything is missing."""
    asked = rules.of(kind)
    if not (asked.required or asked.required_video):
        return Matrix((), tuple(Row(picture, frozenset()) for picture in contents.pictures))
    found: dict[str, frozenset[str]] = {}
    facets: dict[str, None] = {}
    for trigger, pictures in bulk.by_trigger(contents).items():
        check = check_of(kind, base, trigger, pictures)
        facets |= dict.fromkeys(_required(check))
        for picture in pictures:
            names = found[picture.sha256] = _missing(picture.caption, check)
            facets |= dict.fromkeys(sorted(names))  # hair, where the set has several hairstyles
    return Matrix(tuple(facets), tuple(Row(p, found[p.sha256]) for p in contents.pictures))


def check_of(kind: Kind, base: str, trigger: str, pictures: Collection[Picture]) -> Check:
    """What the captions of one trigger are for, settled over these pictures."""
    said = [_hairstyles(one.caption, trigger) for one in pictures if one.caption]
    check = bulk.check_for(kind, base, trigger, pictures)
    return replace(check, hairstyles="several" if means_several(said) else "one")


@lru_cache(maxsize=65536)
def _missing(caption: str, check: Check) -> frozenset[str]:
    """Of one caption under a settled check; after an edit the others cost nothing."""
    if caption.strip():
        return frozenset(missing_categories(read(caption, check.trigger), check))
    return frozenset(_required(check))


@lru_cache(maxsize=65536)
def _hairstyles(caption: str, trigger: str) -> frozenset[str]:
    return frozenset(hairstyles(read(caption, trigger)))


def _required(check: Check) -> tuple[str, ...]:
    kind = rules.of(check.kind)
    return kind.required_video if check.video else kind.required
