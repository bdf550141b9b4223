"""Imports point one way, and the command line starts without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import loraloom

PACKAGE = Path(loraloom.__file__).parent
# Each room may import its own and those above it. Rooms on one line may import each other.
ORDER = [
    ["errors"],
    ["config", "config_tree", "settings", "kinds", "files", "findings", "fonts", "hub"],
    ["families"],
    ["dataset", "captions", "shots", "bases"],
    ["train", "adapters"],
    ["generate"],
    ["evaluate"],
    ["starter", "studio"],
    ["web"],
    ["cli"],
    ["__main__"],
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
HEAVY = {"torch", "diffusers", "transformers", "peft", "skia", "numpy", "cv2"}
RANK["__init__"] = -1  # the version only


def imported_modules(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that a module imports anywhere in it; `package` resolves relative imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def violations(package: Path) -> list[str]:
    """Imports against the order, as `file: room imports room`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        relative = path.relative_to(package)
        room = relative.parts[0].removesuffix(".py")
        home = ".".join(["loraloom", *relative.parent.parts])
        if room not in RANK:
            found.append(f"{relative}: {room} is not in the order")
            continue
        for name in imported_modules(ast.parse(path.read_text(encoding="utf-8")), home):
            root, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if root == "loraloom" and RANK.get(other, -1) > RANK[room]:
                found.append(f"{relative}: {room} imports {other}")
    return found


def test_imports_point_one_way() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    "line",
    [
        "import loraloom.cli.train",
        "from loraloom import cli",
        "from loraloom.cli import app",
        "from .. import cli",
        "from ..cli.train import run",
        "def late():\n    from loraloom.cli import app",
    ],
)
def test_planted_violation_is_found(line: str, tmp_path: Path) -> None:
    planted = tmp_path / "train" / "loop.py"
    planted.parent.mkdir()
    planted.write_text(f"from loraloom import errors\nfrom . import batches\n{line}\n")
    assert violations(tmp_path) == ["train/loop.py: train imports cli"]


def test_unknown_room_is_found(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("")
    assert violations(tmp_path) == ["helpers.py: helpers is not in the order"]


@pytest.mark.parametrize(
    "code",
    [
        "import loraloom.cli",
        "from loraloom.studio import worker, jobs; from loraloom.studio.database import "
        "open_database; worker.Worker(open_database('sqlite://'), [None], print)",
        "from typer.testing import CliRunner; from loraloom.cli import app; "
        "assert 'watch' in CliRunner().invoke(app, ['jobs', '--help']).output",
        "from loraloom import families; families.all_infos()",
        "from loraloom.families.installed import installed; installed()",
        "from typer.testing import CliRunner; from loraloom.cli import app; "
        "assert 'train' in CliRunner().invoke(app, ['--help']).output",
        "from typer.testing import CliRunner; from loraloom.cli import app; "
        "assert 'lint' in CliRunner().invoke(app, ['caption', '--help']).output",
    ],
)
def test_torch_is_not_imported(code: str) -> None:
    check = f"import sys; {code}; found = {HEAVY} & sys.modules.keys(); assert not found, found"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
