"""The check of a stored dataset: in a process of its own, its result kept beside the dataset.

`python -m loraloom.dataset.readiness.stored` reads one line of JSON, {"dataset", "kind", "base",
"measures"}, answers with lines of progress, and ends with "done" or "error". Pictures are decoded
and compared here, so that a server is not slowed down, and not ended by a picture.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from loraloom.dataset.snapshot import Alike, Contents, alike_pair
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import LoraloomError
from loraloom.files import write_atomic
from loraloom.findings import Finding, Severity
from loraloom.kinds import Kind

if TYPE_CHECKING:
    from loraloom.dataset.readiness.check import Progress

TOLD_EVERY_S = 0.2


@dataclass(frozen=True)
class Coverage:
    """One part of a set: how many pictures it has and should have."""

    name: str
    count: int
    least: int
    most: int


@dataclass(frozen=True)
class CopyOf:
    """A picture that another one is kept for; both by SHA-256."""

    kept: str
    copy: str
    difference: float | None
    """None where they are copies by way of a third."""
    mirrored: bool


@dataclass(frozen=True)
class Report:
    """What a check found, and of which state of the dataset."""

    contents: str
    """The hash of that state."""
    kind: Kind
    base: str
    title: str
    """What the base is called."""
    native_px: int
    made_s: float
    pictures: int
    spotless: int
    coverage: tuple[Coverage, ...]
    findings: tuple[Finding, ...]
    shas: Mapping[str, str]
    """The name in a finding -> the SHA-256 of the picture."""
    copies: tuple[CopyOf, ...] = ()
    looked_for: tuple[str, ...] = ()
    """The codes of what would have been found."""
    unmeasured: tuple[str, ...] = ()
    """What could not be looked at, and why."""

    def by_picture(self) -> dict[str, list[Finding]]:
        """SHA-256 -> what was found in the picture."""
        return self._by_picture

    @cached_property
    def _by_picture(self) -> dict[str, list[Finding]]:
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            if finding.item in self.shas:
                found.setdefault(self.shas[finding.item], []).append(finding)
        return found

    def keeping(self, alike: Collection[Alike]) -> Report:
        """Without the copies that are kept on purpose."""
        meant = {one for one in self.copies if alike_pair(one.kept, one.copy) in alike}
        if not meant:
            return self
        shas = {one.copy for one in meant}
        findings = tuple(
            finding
            for finding in self.findings
            if finding.code != "near-duplicate" or self.shas.get(finding.item) not in shas
        )
        named = {finding.item for finding in findings if finding.item in self.shas}
        return replace(
            self,
            findings=findings,
            copies=tuple(one for one in self.copies if one not in meant),
            spotless=self.pictures - len(named),
        )

    def counts(self) -> Counter[Severity]:
        """How many findings there are of each severity."""
        return Counter(finding.severity for finding in self.findings)


def names_of(contents: Contents) -> dict[str, str]:
    """SHA-256 -> a name that only this picture has: its file's, as far as that does."""
    names: dict[str, str] = {}
    often = Counter(picture.name for picture in contents.pictures)
    taken: set[str] = set()
    for picture in contents.pictures:
        alone = often[picture.name] == 1
        name = picture.name if alone else f"{picture.concept}/{picture.name}"
        name = f"{name} ({picture.sha256[:8]})" if name in taken else name
        taken.add(name)
        names[picture.sha256] = name
    return names


def check_stored(
    stored: StoredDataset, kind: Kind, base: str, measures: Path, progress: Progress | None = None
) -> Report:
    """Check the working set, and keep the report. Raises BaseUnknown, DatasetDamaged."""
    from loraloom.captions.tokens import light_counter
    from loraloom.dataset.readiness.check import check_pictures
    from loraloom.dataset.readiness.kept import KeptMeasures
    from loraloom.dataset.readiness.listing import Picture, triggers
    from loraloom.dataset.readiness.moving import Clip
    from loraloom.dataset.readiness.native import native_of
    from loraloom.dataset.readiness.similar import write_looks

    contents, native = stored.working, native_of(base)
    names = names_of(contents)
    listed = {
        p.sha256: Picture(stored.objects.path(p.sha256), names[p.sha256], p.concept, p.caption)
        for p in contents.pictures
    }
    pictures = [listed[p.sha256] for p in contents.pictures if not p.is_clip]
    clips = [
        Clip(listed[p.sha256], p.width_px, p.height_px, p.fps, p.duration_s)
        for p in contents.pictures
        if p.is_clip
    ]
    said = {concept.name: concept.trigger for concept in contents.concepts if concept.trigger}
    words = triggers([*listed.values()]) | said
    alone = next(iter(words.values()), "") if len(contents.concepts) == 1 else ""
    measure = KeptMeasures(measures)
    found = check_pictures(
        stored.root, pictures, kind, native, words, alone, measure=measure, progress=progress,
        clips=clips, counter=light_counter(base), guessed=words.keys() - said.keys(),
    )  # fmt: skip
    shas = {name: sha256 for sha256, name in names.items()}
    report = Report(
        contents.hash,
        kind,
        base,
        native.title,
        native.side_px,
        time.time(),
        len(listed),
        found.spotless,
        tuple(Coverage(p.name, p.count, p.least, p.most) for p in found.coverage),
        found.findings,
        shas,
        tuple(
            CopyOf(shas[one.kept], shas[one.name], one.difference, one.mirrored)
            for one in found.copies
        ),
        found.looked_for,
        found.unmeasured,
    )
    place = _place(stored, kind, base)
    write_looks(
        place.with_suffix(".npz"),
        {shas[name]: one.thumb for name, one in found.measures.items()},
    )
    write_atomic(place, json.dumps(asdict(report)).encode(), durable=False)
    return report


def similar(stored: StoredDataset, kind: Kind, base: str, sha256: str) -> dict[str, float] | None:
    """Pictures that look like one, the most alike first, with their cosine: those that are still in
    the working set. None where the last check for this kind and base has not seen it."""
    from loraloom.dataset.readiness.similar import most_alike

    present = {picture.sha256 for picture in stored.working.pictures}
    return most_alike(_place(stored, kind, base).with_suffix(".npz"), sha256, present)


def last_report(stored: StoredDataset, kind: Kind, base: str) -> Report | None:
    """What the last check for this kind and base found, perhaps of an earlier state.

    Copies that are kept on purpose are not among it.
    """
    path = _place(stored, kind, base)
    try:
        facts = path.stat()
    except OSError:
        return None
    found = _remembered(path, facts.st_ino, facts.st_mtime_ns, facts.st_size)
    return found and found.keeping(frozenset(stored.working.alike))


@lru_cache(maxsize=4)
def _remembered(path: Path, inode: int, changed_ns: int, size: int) -> Report | None:
    """A report that was read before and is the same file still."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return Report(
            **{
                **tree,
                "kind": Kind(tree["kind"]),
                "coverage": tuple(Coverage(**part) for part in tree["coverage"]),
                "findings": tuple(_findings(tree["findings"])),
                "copies": tuple(CopyOf(**one) for one in tree.get("copies", ())),
                "looked_for": tuple(tree.get("looked_for", ())),
                "unmeasured": tuple(tree.get("unmeasured", ())),
            }
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _findings(trees: Iterable[dict[str, object]]) -> Iterable[Finding]:
    for tree in trees:
        yield Finding(**{**tree, "severity": Severity(str(tree["severity"]))})  # type: ignore[arg-type]


def _place(stored: StoredDataset, kind: Kind, base: str) -> Path:
    asked = hashlib.sha256(base.encode()).hexdigest()[:16]
    return stored.root / "checks" / f"{kind.value}-{asked}.json"


def _main() -> None:
    asked = json.loads(sys.stdin.readline())
    root = Path(asked["dataset"])
    told_s = 0.0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > TOLD_EVERY_S or done == total:
            told_s = time.monotonic()
            print(json.dumps({"stage": stage, "done": done, "total": total}), flush=True)

    stored = StoredDataset(root, root.parent / ".locks" / f"{root.name}.lock")
    try:
        (root / "checks").mkdir(exist_ok=True)
        check_stored(stored, Kind(asked["kind"]), asked["base"], Path(asked["measures"]), progress)
        print(json.dumps({"end": "done"}), flush=True)
    except LoraloomError as error:
        print(json.dumps({"end": "error", "message": str(error)}), flush=True)


if __name__ == "__main__":
    _main()
