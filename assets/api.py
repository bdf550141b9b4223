"""Writes docs/api.md from what the routes say of themselves: `python assets/api.py`.

It needs loraloom to be installed, or PYTHONPATH=src.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
START = "<!-- Below: written by assets/api.py. -->\n"
METHODS = ("get", "post", "put", "patch", "delete")


def described() -> dict[str, Any]:
    """The OpenAPI description of an empty studio."""
    from loraloom.studio.studio import open_studio
    from loraloom.web.app import create_app

    kept = {name: os.environ.pop(name, None) for name in ("LORALOOM_HOME", "LORALOOM_DATABASE")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LORALOOM_HOME"] = folder
        studio = open_studio()
        try:
            return create_app(studio, frozenset({"localhost"})).openapi()
        finally:
            studio.database.close()
            del os.environ["LORALOOM_HOME"]
            os.environ.update({name: value for name, value in kept.items() if value is not None})


def reference(api: dict[str, Any]) -> str:
    """Every route, by what it is about, and every kind of body."""
    by_tag: dict[str, list[str]] = {}
    for path, routes in api["paths"].items():
        for method in METHODS:
            if method in routes:
                told = _route(method, path, routes[method])
                by_tag.setdefault(routes[method]["tags"][0], []).append(told)
    parts = [f"## {tag.capitalize()}\n\n" + "\n".join(told) for tag, told in by_tag.items()]
    bodies = [_body(n, s) for n, s in sorted(api["components"]["schemas"].items())]
    return "\n".join([*parts, "## Bodies\n", *filter(None, bodies)])


def _route(method: str, path: str, route: dict[str, Any]) -> str:
    lines = [f"### {method.upper()} {path}", "", _plain(route.get("description", "")), ""]
    for one in route.get("parameters", ()):
        name = f"`{one['name']}` ({one['in']})"
        lines.append(f"- {name}: {_type(one['schema'])}{_limits(one['schema'])}")
    for kind, content in route.get("requestBody", {}).get("content", {}).items():
        lines.append(f"- body: {_type(content.get('schema', {}))} as {kind}")
    for status, answer in route["responses"].items():
        if status in ("422", "4XX"):
            continue
        kinds = answer.get("content", {})
        told = [f"{_type(c.get('schema', {}))} as {kind}".removeprefix("any as ")
                for kind, c in kinds.items()]  # fmt: skip
        what = answer["description"].replace("Successful Response", "")
        lines.append(f"- answers {status}: {', '.join(told) or what or 'nothing'}")
    return "\n".join(lines) + "\n"


def _body(name: str, schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return f"### {name}\n\nOne of {', '.join(f'`{v}`' for v in schema['enum'])}.\n"
    if name in ("HTTPValidationError", "ValidationError"):
        return ""
    must = schema.get("required", ())
    fields = [
        f"- `{key}`: {_type(one)}{_limits(one)}"
        + ("" if key in must or "default" in one else ", optional")
        for key, one in schema.get("properties", {}).items()
    ]
    return "\n".join([f"### {name}", "", _plain(schema.get("description", "")), "", *fields, ""])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{v}`" for v in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema['items'])}" if "items" in schema else "list"
    return {"object": "object", "string": "text", "integer": "whole number"}.get(
        str(kind), str(kind or "any")
    )


def _limits(schema: dict[str, Any]) -> str:
    ranges = [schema, *schema.get("anyOf", ())]
    told = ""
    for one in ranges:
        least, most = one.get("minimum"), one.get("maximum", one.get("exclusiveMaximum"))
        if least is not None or most is not None:
            told += f", {'' if least is None else least} to {'' if most is None else most}"
        if "maxLength" in one:
            told += f", at most {one['maxLength']:,} characters"
        if "maxItems" in one:
            told += f", at most {one['maxItems']:,}"
    if schema.get("default") is not None:
        told += f"; else `{schema['default']}`".replace("``", '`""`')
    return told


def _plain(text: str) -> str:
    return " ".join(text.split())


def page() -> str:
    """The whole page: what stands above the mark stays as it is."""
    above = (DOCS / "api.md").read_text(encoding="utf-8").partition(START)[0]
    return above + START + "\n" + reference(described())


if __name__ == "__main__":
    (DOCS / "api.md").write_text(page(), encoding="utf-8")
