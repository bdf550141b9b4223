"""Change the captions of a stored dataset: one, some or all of them, each change undoable."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from loraloom.captions import edit, fix, lint, rules
from loraloom.captions.concept import known_name
from loraloom.captions.edit import Edit
from loraloom.captions.lint import Captioned, Check
from loraloom.captions.tokens import light_counter
from loraloom.dataset.caption_file import clean_caption
from loraloom.dataset.snapshot import Contents, Picture
from loraloom.dataset.stored import StoredDataset
from loraloom.errors import CaptionsChanged, DatasetUnknown, LoraloomError
from loraloom.kinds import Kind


@dataclass(frozen=True)
class Change:
    """One caption before and after, of the picture with this SHA-256."""

    sha256: str
    name: str
    before: str
    after: str
    changes: tuple[str, ...] = ()
    """What was done, in words."""
    assumed: tuple[str, ...] = ()
    """Terms that nobody said: compare them with the picture."""


def set_caption(stored: StoredDataset, sha256: str, caption: str, given: str | None) -> Picture:
    """Give one picture a caption. `given`: the one that the writer saw.

    Raises CaptionsChanged where it is another by now, CaptionUnreadable, DatasetUnknown.
    """

    def change(contents: Contents) -> Contents:
        picture = find(stored, contents, sha256)
        text = clean_caption(caption, picture.name).text
        if given is not None and picture.caption not in (given, text):
            raise CaptionsChanged(
                f"The caption of {picture.name} was changed meanwhile. It is now: "
                f"“{picture.caption}”. Yours was not saved: “{text}”. Copy what you want to keep, "
                "load the page again, and write it once more."
            )
        pictures = tuple(
            replace(p, caption=text) if p.sha256 == sha256 else p for p in contents.pictures
        )
        return replace(contents, pictures=pictures)

    return find(stored, stored.edit(change, "a caption"), sha256)


def find(stored: StoredDataset, contents: Contents, sha256: str) -> Picture:
    """Raises DatasetUnknown."""
    for picture in contents.pictures:
        if picture.sha256 == sha256:
            return picture
    raise DatasetUnknown(
        f"{stored.name} has no picture {sha256[:12]}; it may have been taken out meanwhile."
    )


def edits(contents: Contents, shas: Collection[str], change: Edit) -> list[Change]:
    """What `change` would do to the captions of some pictures; nothing is written."""
    found = []
    for picture in contents.pictures:
        if picture.sha256 in shas:
            own = replace(change, trigger=contents.concept(picture.concept).trigger)
            after = edit.edit_caption(picture.caption, own)
            if after != picture.caption:
                found.append(Change(picture.sha256, picture.name, picture.caption, after))
    return found


def fixes(
    contents: Contents,
    kind: Kind,
    base: str,
    *,
    may_assume: bool = False,
    only: Collection[str] | None = None,
) -> list[Change]:
    """What would mend the captions: leaks out, standard terms in, the trigger first.

    `only`: of these pictures; the others tell what the set has.
    """
    found = []
    for trigger, pictures in by_trigger(contents).items():
        captions = [Captioned(p.sha256, p.caption or None) for p in pictures]
        named = {picture.sha256: picture for picture in pictures}
        check = lint.settled(captions, check_for(kind, base, trigger, pictures))
        chosen = [one for one in captions if only is None or one.item in only]
        for one in fix.fix(chosen, check, may_assume=may_assume, counter=light_counter(base)):
            if one.after != named[one.item].caption:
                picture = named[one.item]
                found.append(
                    Change(
                        picture.sha256, picture.name, picture.caption, one.after, one.changes,
                        one.assumed,
                    )
                )  # fmt: skip
    return found


def write(stored: StoredDataset, changes: Collection[Change], what: str) -> int:
    """Write captions in one step; how many. One that is another by now is left alone."""
    wanted: Mapping[str, Change] = {change.sha256: change for change in changes}
    written = 0

    def apply(contents: Contents) -> Contents:
        nonlocal written
        pictures = []
        for picture in contents.pictures:
            change = wanted.get(picture.sha256)
            if change and picture.caption == change.before:
                text = clean_caption(change.after, picture.name).text
                picture = replace(picture, caption=text)
                written += 1
            pictures.append(picture)
        return replace(contents, pictures=tuple(pictures))

    if wanted:
        stored.edit(apply, what)
    return written


def by_trigger(contents: Contents) -> dict[str, list[Picture]]:
    """The pictures of each trigger."""
    found: dict[str, list[Picture]] = {}
    for picture in contents.pictures:
        found.setdefault(contents.concept(picture.concept).trigger, []).append(picture)
    return found


def check_for(kind: Kind, base: str, trigger: str, pictures: Collection[Picture]) -> Check:
    """What the captions of one trigger are for; where most are clips, a set of clips."""
    video = 2 * sum(picture.is_clip for picture in pictures) > len(pictures)
    named = {picture.concept for picture in pictures} if kind is Kind.CONCEPT else set()
    own = known_name(named.pop()) if len(named) == 1 else ""
    try:
        style = rules.base_style(base)
    except LoraloomError:
        style = rules.BaseStyle("", "tags", False)
    return Check(kind, trigger, own, style=style.style, video=style.video or video)
