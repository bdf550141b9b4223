"""The sentences that the program says of what it found and what went wrong, out of its source.

A sentence is a text that begins with a capital or a value, has three words at least and ends with
a full stop, or what an error or a finding is made with; what stands in an f-string's braces becomes
a named place for it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = ("cli", "starter")
"""Folders that no page shows anything of."""
_SENTENCE = re.compile(r"[A-Z{'“].*[.!?]", re.DOTALL)
_PLACE = re.compile(r"\{[^{}]*\}")
_WORD = re.compile(r"[A-Za-z]{2,}")
_FEWEST_WORDS = 3
_FINDINGS = {"Finding", "Diagnosed", "Failure", "Remark"}
_TELLERS = {
    "error", "warning", "hint", "progress", "offer", "edit", "put", "write", "_change_pictures",
}  # fmt: skip
"""Functions that are given a text to tell."""
_LOG = re.compile(r"%[sd]")


def sentences(package: Path) -> Iterator[tuple[str, Path]]:
    """Each sentence with the file that it stands in."""
    tree = ast.parse((package / "errors.py").read_text(encoding="utf-8"))
    makers = _FINDINGS | _TELLERS | {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).parts[0] not in LEFT_OUT:
            finder = _Finder(makers)
            finder.visit(ast.parse(path.read_text(encoding="utf-8")))
            yield from ((text, path) for text in finder.found)


class _Finder(ast.NodeVisitor):
    """Collects texts; docstrings are none."""

    def __init__(self, makers: set[str]) -> None:
        self.found: list[str] = []
        self._makers = makers
        self._made = 0  # makers around what is looked at

    def _take(self, text: str) -> None:
        """Where it says enough to be recognised by its words."""
        words = _WORD.findall(_PLACE.sub(" ", text))
        if self._made and not _LOG.search(text):
            enough = bool(words) and " " in text.strip()
        else:
            enough = len(words) >= _FEWEST_WORDS and bool(_SENTENCE.fullmatch(text))
        if enough:
            self.found.append(text.strip())

    def visit_Call(self, node: ast.Call) -> None:
        maker = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        self.visit(node.func)
        self._made += maker in self._makers
        for argument in (*node.args, *node.keywords):
            self.visit(argument)
        self._made -= maker in self._makers

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self._take(_doubled(node.value))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        names: dict[str, str] = {}
        parts = []
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                parts.append(f"{{{_name(value.value, names)}}}")
                self.visit(value.value)
            elif isinstance(value, ast.Constant):
                parts.append(_doubled(str(value.value)))
        self._take("".join(parts))


def _doubled(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _name(expression: ast.expr, names: dict[str, str]) -> str:
    """A name that is the expression's own in this text; `names` are those taken, with theirs."""
    source = ast.unparse(expression)
    short = _short(expression).strip("_").lower() or "value"
    name, number = short, 2
    while names.setdefault(name, source) != source:
        name, number = f"{short}_{number}", number + 1
    return name


def _short(expression: ast.expr) -> str:
    """What is in it that a translator would know it by."""
    match expression:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(args=[first, *_]):
            return _short(first)
        case ast.Call(func=ast.Attribute(value=inner)) | ast.Call(func=inner):
            return _short(inner)
        case ast.BinOp(left=inner) | ast.Subscript(value=inner) | ast.IfExp(body=inner):
            return _short(inner)
        case ast.GeneratorExp(generators=[ast.comprehension(iter=inner), *_]):
            return _short(inner)
    return "value"
