"""Describe a set: batch by batch, going on where an earlier run stopped, then write all at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loraloom.captions.auto import hair
from loraloom.captions.auto.answer import Answer, Captioner, Failure, Seen
from loraloom.captions.auto.draft import Order, caption_of, everything, own_tags
from loraloom.captions.auto.kept import Kept, keeping
from loraloom.captions.auto.seen import identity, see
from loraloom.captions.fix import fix
from loraloom.captions.lint import Captioned, lint
from loraloom.captions.measure import Check
from loraloom.captions.target import Item, Target, lacks_caption, with_trigger
from loraloom.errors import ImageUnreadable
from loraloom.findings import Finding
from loraloom.kinds import Kind


@dataclass(frozen=True)
class Progress:
    """So many pictures are described, failed ones counted."""

    done: int
    total: int


@dataclass(frozen=True)
class Failed:
    """A picture without caption."""

    item: str
    reason: str


@dataclass(frozen=True)
class Done:
    """All is written."""

    captions: dict[str, str]
    """Name -> caption, of those that were written."""
    failed: tuple[Failed, ...]
    skipped: int
    """Pictures that had captions."""
    findings: tuple[Finding, ...]
    """What the new captions still lack."""


@dataclass
class _Found:
    """What came of the pictures so far."""

    answers: dict[str, Answer] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)

    @property
    def done(self) -> int:
        return len(self.answers) + len(self.failed)


def describe(
    target: Target,
    captioner: Captioner,
    order: Order,
    *,
    replacing: bool = False,
    only: Collection[str] = (),
    enough: Callable[[], bool] = lambda: False,
) -> Generator[Progress | Done, None, None]:
    """Make and write the captions of a set, or of the items with these keys `only`; `replacing`
    those that are there too. Once it is `enough`, what was described by then is written.

    What was answered is kept beside the set until all is written: a run that is stopped, killed or
    left alone by its server goes on when it is started again. Raises ProviderFailed and the like.
    """
    items = with_trigger(target.pictures(), order.check.trigger)
    items = [item for item in items if not only or item.key in only]
    chosen = {i.key: i for i in items if replacing or lacks_caption(i, order.check.trigger)}
    found = _Found()
    with keeping(target.answers_at, captioner.fingerprint) as kept:
        yield Progress(0, len(chosen))
        for _ in _answer(list(chosen.values()), captioner, kept, found):
            yield Progress(found.done, len(chosen))
            if enough():
                break
        captions, findings = _captions(chosen, found, order)
        seen = {key: chosen[key].caption for key in captions}
        written = target.write(captions, seen, "automatic captions")
        kept.forget()
    found.failed += [
        Failed(chosen[key].name, "was changed meanwhile, and left as it is")
        for key in captions
        if key not in written
    ]
    told = {chosen[key].name: captions[key] for key in written}
    yield Done(told, tuple(found.failed), len(items) - len(chosen), tuple(findings))


def _answer(
    items: Sequence[Item], captioner: Captioner, kept: Kept, found: _Found
) -> Iterator[None]:
    """Fill `found`; yields after each picture or batch."""
    batch: list[tuple[Item, str, Seen]] = []
    for item in items:
        try:
            picture = identity(item)
            answer = kept.get(picture)
            if answer is None:
                batch.append((item, picture, see(item, captioner.frames)))
            else:
                found.answers[item.key] = answer
        except ImageUnreadable as error:
            reason = str(error).removeprefix(f"{item.name}: ")
            found.failed.append(Failed(item.name, reason))
        if len(batch) == captioner.batch:
            _ask(batch, captioner, kept, found)
            batch = []
        yield
    if batch:
        _ask(batch, captioner, kept, found)
        yield


def _ask(
    batch: Sequence[tuple[Item, str, Seen]], captioner: Captioner, kept: Kept, found: _Found
) -> None:
    answers = captioner.describe([seen for _, _, seen in batch])
    for (item, picture, _), answer in zip(batch, answers, strict=True):
        if isinstance(answer, Failure):
            found.failed.append(Failed(item.name, answer.reason))
        else:
            kept.add(picture, answer)
            found.answers[item.key] = answer


def _captions(
    items: Mapping[str, Item], found: _Found, order: Order
) -> tuple[dict[str, str], list[Finding]]:
    """Captions by key, and what they lack; pictures of which nothing can be said have failed."""
    order = replace(order, check=_settled(order, found))
    order = replace(order, own=own_tags(list(found.answers.values()), order))
    captions: dict[str, str] = {}
    findings: list[Finding] = []
    for trigger in {items[key].trigger: None for key in found.answers}:
        check = replace(order.check, trigger=trigger)
        own = replace(order, check=check)
        drafts = [
            Captioned(key, caption_of(answer, own))
            for key, answer in found.answers.items()
            if items[key].trigger == trigger
        ]
        check = replace(check, style=order.style)
        fixed = fix([d for d in drafts if _says_something(d, trigger)], check, may_assume=False)
        captions |= {each.item: each.after for each in fixed}
        findings += lint([Captioned(items[f.item].name, f.after) for f in fixed], check)
    found.failed += [
        Failed(items[key].name, "nothing was seen that a caption could say; describe it yourself")
        for key in found.answers
        if key not in captions
    ]
    return captions, findings


def _says_something(draft: Captioned, trigger: str) -> bool:
    return (draft.caption or "").strip().casefold() not in ("", trigger.casefold())


def _settled(order: Order, found: _Found) -> Check:
    """The check with the whole set's answer to whether a character's hair changes."""
    check = order.check
    if check.hairstyles != "auto" or check.kind is not Kind.CHARACTER:
        return check
    seen = [everything(answer, order.threshold) for answer in found.answers.values()]
    return replace(check, hairstyles="several" if hair.changes(seen) else "one")
