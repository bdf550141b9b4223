"""Change many captions at once: search and replace, add, remove, rename and reorder tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loraloom.captions import journal, vocabulary
from loraloom.captions.folder import CaptionFile, content
from loraloom.captions.lint import Captioned
from loraloom.captions.reading import trigger_spans
from loraloom.captions.words import Phrase, is_chinese, split_phrases

_SEPARATORS = " \t,，、;；"


@dataclass(frozen=True)
class Edit:
    """What to do with each caption chosen, in this order."""

    replace: tuple[tuple[str, str], ...] = ()
    """Text -> other text, as whole words, without regard to case."""
    rename: tuple[tuple[str, str], ...] = ()
    """Tag -> other tag, where it is the whole tag."""
    remove: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    """Added at the end, where the caption has not got them."""
    first: tuple[str, ...] = ()
    """Moved to the beginning (behind the trigger), where the caption has them."""
    match: str = ""
    """Only captions, or files, that hold this text."""
    trigger: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.replace or self.rename or self.remove or self.add or self.first)


@dataclass(frozen=True)
class Edited:
    """One caption before and after."""

    item: str
    before: str
    after: str


def edit(captions: Sequence[Captioned], change: Edit) -> list[Edited]:
    """The captions that `change` changes; nothing is written."""
    found = []
    for captioned in captions:
        before = captioned.caption
        if before and change.match.casefold() in f"{captioned.item}\n{before}".casefold():
            after = edit_caption(before, change)
            if after != before:
                found.append(Edited(captioned.item, before, after))
    return found


def edit_caption(caption: str, change: Edit) -> str:
    """One caption with the change."""
    for old, new in change.replace:
        caption = replace_text(caption, old, new)
    for old, new in change.rename:
        caption = rename_tag(caption, old, new)
    for tag in change.remove:
        caption = remove_tag(caption, tag)
    for tag in change.add:
        caption = add_tag(caption, tag)
    for tag in reversed(change.first):
        caption = put_first(caption, tag, change.trigger)
    return caption


def save(root: Path, files: Sequence[CaptionFile], after: dict[str, str], what: str) -> int:
    """Write the captions in `after` (file name -> caption) undoably; how many files changed."""
    data = {file.path: content(after[file.name]) for file in files if file.name in after}
    return journal.write(root, data, what)


def tags(caption: str) -> list[str]:
    """The caption's tags as they are written."""
    return [_text(caption, phrase) for phrase in split_phrases(caption)]


def replace_text(caption: str, old: str, new: str) -> str:
    """Every `old` as whole words, in any case, replaced by `new`."""
    if not old.strip():
        return caption
    start = r"(?<!\w)" if old[0].isascii() else ""
    end = r"(?!\w)" if old[-1].isascii() else ""
    return re.sub(start + re.escape(old) + end, lambda _: new, caption, flags=re.IGNORECASE)


def rename_tag(caption: str, old: str, new: str) -> str:
    """The tag `old` as `new`; a tag that only holds `old` stays."""
    for phrase in reversed(split_phrases(caption)):
        if _same(_text(caption, phrase), old):
            start, end = _span(caption, phrase)
            caption = caption[:start] + new + caption[end:]
    return caption


def remove_tag(caption: str, tag: str) -> str:
    """The caption without this tag."""
    for phrase in reversed(split_phrases(caption)):
        if _same(_text(caption, phrase), tag):
            start, end = _span(caption, phrase)
            head = caption[:start].rstrip(_SEPARATORS)
            tail = caption[end:]
            caption = head + tail if head else tail.lstrip(_SEPARATORS)
    return caption


def add_tag(caption: str, tag: str) -> str:
    """The caption with this tag at the end, unless it has it."""
    if any(_same(_text(caption, phrase), tag) for phrase in split_phrases(caption)):
        return caption
    return f"{caption.rstrip(_SEPARATORS)}{_separator(caption)}{tag}" if caption.strip() else tag


def put_first(caption: str, tag: str, trigger: str = "") -> str:
    """The caption with this tag moved to the beginning, behind the trigger."""
    found = [p for p in split_phrases(caption) if _same(_text(caption, p), tag)]
    if not found:
        return caption
    written = _text(caption, found[0])
    rest = remove_tag(caption, tag)
    if not rest.strip():
        return caption
    phrases = split_phrases(rest)
    if phrases and trigger_spans(_text(rest, phrases[0]), trigger):
        _, end = _span(rest, phrases[0])
        return f"{rest[:end]}{_separator(caption)}{written}{rest[end:]}"
    return f"{written}{_separator(caption)}{rest}"


def _separator(caption: str) -> str:
    return vocabulary.grammar("zh-TW" if is_chinese(caption) else "en").separator


def _span(caption: str, phrase: Phrase) -> tuple[int, int]:
    text = caption[phrase.start : phrase.end]
    start = phrase.start + len(text) - len(text.lstrip())
    return start, start + len(text.strip())


def _text(caption: str, phrase: Phrase) -> str:
    start, end = _span(caption, phrase)
    return caption[start:end]


def _same(text: str, tag: str) -> bool:
    return vocabulary.key_of(text) == vocabulary.key_of(tag)
