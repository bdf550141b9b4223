"""Settings as TOML gives them: read, joined, checked with a sentence for each mistake, written."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from loraloom.config import Section, TrainConfig, Tree
from loraloom.errors import ConfigInvalid

Model = TypeVar("Model", bound=BaseModel)


def validate(tree: Mapping[str, Any]) -> TrainConfig:
    """A complete config, or ConfigInvalid with each wrong key, its value and what is right."""
    refuse_unknown(tree)
    try:
        return TrainConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigInvalid("\n".join(_sentences(error))) from None


def refuse_unknown(tree: Mapping[str, Any]) -> None:
    """Raise ConfigInvalid for keys that are no setting, with the nearest valid one.

    So too for a value in the place of a table.
    """
    known, tables = dict(_paths(TrainConfig)), dict(_tables())
    problems = []
    for key, value in _leaves(tree):
        if key in tables and not isinstance(value, Mapping):
            problems.append(
                f"{key} = {value!r} is not possible: {key} is a table of settings, such as "
                f"{key}.{tables[key]}."
            )
        elif key not in known:
            near = _nearest(key, known)
            hint = f" Did you mean {near}?" if near else ""
            problems.append(f"There is no setting {key}.{hint}")
    if problems:
        raise ConfigInvalid("\n".join(problems))


def read_toml(path: Path) -> Tree:
    """The settings in a file, not yet complete. Raises ConfigInvalid."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"The settings {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigInvalid(f"The settings {path} are not valid TOML: {error}.") from error


def parse_assignment(text: str) -> Tree:
    """`a.b=v` -> {"a": {"b": v}}; v is a TOML value, or else a plain string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigInvalid(f"--set expects name=value, such as adapter.rank=8, and got {text!r}.")
    try:
        parsed: Any = tomllib.loads(f"v = {value.strip()}")["v"]
    except ValueError:
        parsed = value.strip()
    for name in reversed(key.strip().split(".")):
        parsed = {name: parsed}
    return dict(parsed)


def merge(*trees: Mapping[str, Any]) -> Tree:
    """Tables joined key by key; the later one wins."""
    merged: Tree = {}
    for tree in trees:
        for key, value in tree.items():
            old = merged.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            merged[key] = merge(old, value) if both and old is not None else value
    return merged


def to_toml(config: TrainConfig) -> str:
    """The config as a TOML file that `read_toml` and `validate` turn into the same config."""
    tree = config.model_dump(mode="json", exclude_none=True)
    tables = {key: value for key, value in tree.items() if isinstance(value, dict)}
    lines = [toml_line(key, value) for key, value in tree.items() if key not in tables]
    for name, table in tables.items():
        concepts = table.pop("concepts", [])
        lines += ["", f"[{name}]", *(toml_line(key, value) for key, value in table.items())]
        for concept in concepts:
            lines += ["", f"[[{name}.concepts]]", *(toml_line(*item) for item in concept.items())]
    return "\n".join(lines) + "\n"


def as_model(model: type[Model], tree: Tree, wrong: str) -> Model:
    """The tree as a model that is not the settings of a run. Raises ConfigInvalid, which begins
    with `wrong`."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigInvalid(f"{wrong}: {told}.") from None


def toml_line(key: str, value: object) -> str:
    """`key = value`."""
    if isinstance(value, dict):  # an inline table; the sections are written as tables
        pairs = ", ".join(toml_line(json.dumps(name), v) for name, v in value.items())
        return f"{key} = {{ {pairs} }}"
    return f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")


def _paths(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted name and help of every setting, tables included."""
    for name, field in section.model_fields.items():
        yield prefix + name, field.description or ""
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _paths(field.annotation, f"{prefix}{name}.")


def _tables() -> Iterator[tuple[str, str]]:
    """Name and first setting of every table."""
    for name, field in TrainConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, next(iter(field.annotation.model_fields))


_MAPPINGS = ("adapter.ranks",)
"""Settings that are tables of the user's own keys."""


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value and f"{prefix}{key}" not in _MAPPINGS:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _nearest(key: str, known: Mapping[str, str]) -> str | None:
    """By the whole dotted name, else by its last word ("rank" is adapter.rank)."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    if close:
        return close[0]
    leaves = {path.rpartition(".")[2]: path for path in known}
    close = difflib.get_close_matches(key.rpartition(".")[2], leaves, n=1, cutoff=0.6)
    return leaves[close[0]] if close else None


_PREFIX = "Value error, "


def _sentences(error: ValidationError) -> Iterator[str]:
    for detail in error.errors():
        key = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "missing":
            yield f"The setting {key} is missing."
        elif detail["type"] == "extra_forbidden":
            yield f"There is no setting {key}."
        elif not key:
            yield f"The settings cannot be used: {detail['msg'].removeprefix(_PREFIX)}."
        else:
            reason = detail["msg"].removeprefix(_PREFIX)
            yield f"{key} = {detail['input']!r} is not possible: {reason}."
