"""What this installation is made of: versions and licences, without importing any of it."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files

import loraloom
from loraloom import families
from loraloom.families.installed import installed

_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Licensed:
    """Something that comes with the studio, and under what terms."""

    name: str
    version: str
    licence: str


def version(package: str) -> str | None:
    """That of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def python() -> str:
    """The version of Python, and of the system."""
    return f"{platform.python_version()} ({platform.platform()})"


def packages() -> list[Licensed]:
    """What Loraloom asks for, where it is installed."""
    wanted = {_name(line) for line in metadata.requires(loraloom.__name__) or []}
    found = []
    for name in sorted(wanted - {loraloom.__name__}):
        installed = version(name)
        if installed is not None:
            found.append(Licensed(name, installed, _licence(metadata.metadata(name))))
    return found


def scripts() -> list[tuple[str, str]]:
    """The browser's packages, each with the text of its licence."""
    vendor = files("loraloom") / "web" / "static" / "vendor"
    if not vendor.is_dir():
        return []
    return sorted(
        (path.name.removesuffix("-LICENSE.txt"), path.read_text(encoding="utf-8"))
        for path in vendor.iterdir()
        if path.name.endswith("-LICENSE.txt")
    )


def bases() -> list[Licensed]:
    """The base models that are here."""
    return [Licensed(base.name, base.title, base.licence) for base in installed()]


def known_families() -> list[Licensed]:
    """The kinds of base models that can be trained on; each base may have terms of its own."""
    return [Licensed(info.id, info.title, info.licence) for info in families.all_infos()]


def _name(requirement: str) -> str:
    found = _NAME.match(requirement)
    return found[0].lower() if found else ""


def _licence(told: metadata.PackageMetadata) -> str:
    """An SPDX expression where there is one, else the classifiers or a short field."""
    fields = told.json
    if expression := fields.get("license_expression"):
        return str(expression)
    classifiers = fields.get("classifier") or []
    kinds = [c.rpartition(" :: ")[2] for c in classifiers if c.startswith("License :: ")]
    short = str(fields.get("license") or "").strip().splitlines()
    return ", ".join(kinds) or (short[0][:80] if short else "")
