"""The settings as a form: every field comes from config.py, none is written a second time."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from loraloom import config_tree
from loraloom.config import Section, TrainConfig, Tree

Control = Literal["number", "text", "choice", "switch", "lines"]
TOP = frozenset(
    ("base", "kind", "trigger", "data.folder", "data.concepts", "samples.prompts", "adapter.type",
     "shard_base", "about.description", "about.tags")
)  # fmt: skip
"""What a page asks for elsewhere; and what counts on several GPUs only."""
LONGEST_TEXT = 20_000


@dataclass(frozen=True)
class Input:
    """One setting to be filled in."""

    name: str
    """Dotted."""
    help: str
    control: Control
    choices: tuple[str, ...] = ()
    least: str = ""
    most: str = ""
    whole: bool = False
    """Of numbers: whether they are whole."""
    many: bool = False
    """Several values, with commas or a line each."""
    pairs: bool = False
    """Names with a number each."""

    @property
    def title(self) -> str:
        """Its last word, readable."""
        return self.name.rpartition(".")[2].replace("_", " ").capitalize()

    def read(self, text: str) -> object:
        """The value that the text stands for; the text itself where it stands for none."""
        text = text.strip()
        if self.control == "switch":
            return {"yes": True, "no": False}.get(text, text)
        if self.pairs:
            parts = (part.partition("=") for part in _parts(text))
            return {name.strip(): _number(value.strip(), whole=True) for name, _, value in parts}
        if self.control == "lines":
            return [line.strip() for line in text.splitlines() if line.strip()]
        if self.many:
            return [_number(part) for part in _parts(text)]
        if self.name == "adapter.targets" and text not in self.choices:
            return _parts(text)
        if self.control == "number" or (self.control == "text" and self.least):
            return _number(text, whole=self.whole)
        return text

    def show(self, value: object) -> str:
        """A value as it would be typed."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, StrEnum):
            return value.value
        if isinstance(value, float):
            return f"{value:.10g}"
        if isinstance(value, Mapping):
            return ", ".join(f"{name} = {number}" for name, number in value.items())
        if isinstance(value, list | tuple):
            joint = "\n" if self.control == "lines" else ", "
            return joint.join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
        return str(value)


@dataclass(frozen=True)
class Group:
    """A section of the settings."""

    name: str
    help: str
    inputs: tuple[Input, ...]

    @property
    def title(self) -> str:
        """Its name, readable."""
        return self.name.replace("_", " ").capitalize()


@cache
def groups() -> tuple[Group, ...]:
    """All settings, section by section; those that belong to none come first."""
    fields = TrainConfig.model_fields
    sections = {n: f.annotation for n, f in fields.items() if _is_section(f.annotation)}
    own = tuple(_input(name, field) for name, field in fields.items() if name not in sections)
    found = [Group("", "", own)]
    for name, section in sections.items():
        assert section is not None
        inputs = (_input(f"{name}.{key}", f) for key, f in section.model_fields.items())
        words = " ".join((section.__doc__ or "").split())
        found.append(Group(name, words, tuple(inputs)))
    return tuple(found)


@cache
def inputs() -> Mapping[str, Input]:
    """By dotted name."""
    return {one.name: one for group in groups() for one in group.inputs}


def read(values: Mapping[str, str]) -> Tree:
    """The settings that were filled in; the others are the recipe's."""
    tree: Tree = {}
    for name, one in inputs().items():
        text = values.get(name, "")[:LONGEST_TEXT].replace("\0", "")
        if text.strip():
            section, _, key = name.rpartition(".")
            value = {key: one.read(text)}
            tree = config_tree.merge(tree, {section: value} if section else value)
    return tree


def _input(name: str, field: FieldInfo) -> Input:
    kinds = list(_alternatives(field.annotation))
    limits = [*field.metadata, *(limit for _, own in kinds for limit in own)]
    least = next((str(m.ge if isinstance(m, Ge) else m.gt) for m in limits
                  if isinstance(m, Ge | Gt)), "")  # fmt: skip
    most = next((str(m.le if isinstance(m, Le) else m.lt) for m in limits
                 if isinstance(m, Le | Lt)), "")  # fmt: skip
    types_ = [kind for kind, _ in kinds]
    choices = tuple(
        str(c) for kind in types_ if get_origin(kind) is Literal for c in get_args(kind)
    )
    made = Input(name, field.description or "", "text", choices, least, most)
    if bool in types_:
        return replace(made, control="switch")
    if name == "samples.prompts":
        return replace(made, control="lines")
    if any(get_origin(kind) is dict for kind in types_):
        return replace(made, pairs=True)
    if any(get_origin(kind) is tuple for kind in types_):
        return replace(made, many=True)
    if choices and len(types_) == 1:
        return replace(made, control="choice")
    enums = [kind for kind in types_ if isinstance(kind, type) and issubclass(kind, StrEnum)]
    if enums:
        return replace(made, control="choice", choices=tuple(enums[0]))
    if types_ in ([int], [float]):
        return replace(made, control="number", whole=types_ == [int])
    return made


def _alternatives(annotation: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Each type that a value may have, less None, with its limits."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    elif origin is Annotated:
        kind, *limits = get_args(annotation)
        found = [m for limit in limits for m in getattr(limit, "metadata", [limit])]
        yield kind, tuple(found)
    elif annotation is not type(None):
        yield annotation, ()


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


def _number(text: str, *, whole: bool = False) -> object:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return text if whole else float(text)
    except ValueError:
        return text
