"""Which of the things that captions of a kind must tell each caption of a set leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from loraloom.captions import bulk, rules
from loraloom.captions.lint import Captioned, settled
from loraloom.captions.measure import Check, missing_categories
from loraloom.captions.reading import read
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

    @property
    def incomplete(self) -> tuple[Row, ...]:
        """Those that leave something out."""
        return tuple(row for row in self.rows if row.missing)


def matrix(contents: Contents, kind: Kind, base: str) -> Matrix:
    """All pictures; of one without caption everything is missing."""
    found: dict[str, frozenset[str]] = {}
    facets: dict[str, None] = {}
    for trigger, pictures in bulk.by_trigger(contents).items():
        check = bulk.check_for(kind, base, trigger, pictures)
        missing = _missing(tuple(picture.caption for picture in pictures), check)
        facets |= dict.fromkeys(_required(check))
        for picture, names in zip(pictures, missing, strict=True):
            found[picture.sha256] = names
            facets |= dict.fromkeys(sorted(names))  # hair, where the set has several hairstyles
    return Matrix(tuple(facets), tuple(Row(p, found[p.sha256]) for p in contents.pictures))


@lru_cache(maxsize=4)
def _missing(captions: tuple[str, ...], check: Check) -> tuple[frozenset[str], ...]:
    """The same captions again cost nothing."""
    check = settled([Captioned("", caption or None) for caption in captions], check)

    def each() -> Iterator[frozenset[str]]:
        for caption in captions:
            if caption.strip():
                yield frozenset(missing_categories(read(caption, check.trigger), check))
            else:
                yield frozenset(_required(check))

    return tuple(each())


def _required(check: Check) -> tuple[str, ...]:
    kind = rules.of(check.kind)
    return kind.required_video if check.video else kind.required
