"""The texts of the pages and their translations.

    python assets/texts.py            bring src/loraloom/web/locale/*.po up to date with the pages
    python assets/texts.py --missing  list what has no translation yet; status 1 if there is any

Texts are what templates and modules of web/ put into `_()`, the names and descriptions of all
settings, and the sentences of findings, diagnoses and errors.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po
from pydantic import BaseModel
from sentences import sentences

from loraloom.config import TrainConfig
from loraloom.web import form

PACKAGE = Path(__file__).parent.parent / "src" / "loraloom"
LOCALE = PACKAGE / "web" / "locale"
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
OPTIONS = {"**/templates/**.html": {"newstyle_gettext": "true", "silent": "false"}}
"""As the pages' own environment has it; a template that cannot be read is an error."""
KEYWORDS = {
    "_": None, "translate": None, "gettext": None,  # gettext is what {% trans %} becomes
    "translate_plural": (1, 2), "ngettext": (1, 2),
}  # fmt: skip


def texts() -> Catalog:
    """Every text, with the files that it stands in."""
    catalog = Catalog(project="Loraloom", fuzzy=False)
    alone: dict[str, bool] = {}
    found = extract_from_dir(
        PACKAGE / "web", METHODS, OPTIONS, keywords=KEYWORDS, comment_tags=("NOTE:",)
    )
    for path, _, message, comments, _ in found:
        first = message if isinstance(message, str) else message[0]
        if alone.setdefault(first, first is message) != (first is message):
            sys.exit(f"web/{path}: {first!r} has a plural elsewhere; reword it")
        catalog.add(message, locations=[(f"web/{path}", 0)], auto_comments=comments)
    for sentence, path in sentences(PACKAGE):
        catalog.add(sentence, locations=[(str(path.relative_to(PACKAGE)), 0)])
    for description in descriptions(TrainConfig):
        catalog.add(description, locations=[("config.py", 0)])
    for title in titles():
        catalog.add(title, locations=[("config.py", 0)])
    return catalog


def titles() -> Iterator[str]:
    """What the form calls the settings and their groups."""
    for group in form.groups():
        if group.name:
            yield group.title
        yield from (one.title for one in group.inputs)


def descriptions(model: type[BaseModel]) -> Iterator[str]:
    """What each setting is, of a section and those within it."""
    for field in model.model_fields.values():
        if field.description:
            yield field.description
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from descriptions(kind)


def translations(language: str) -> Catalog:
    """What is translated so far."""
    path = LOCALE / f"{language}.po"
    if not path.exists():
        return Catalog(language, project="Loraloom", fuzzy=False)
    with path.open("rb") as stream:
        return read_po(stream, language)


def update(language: str) -> Catalog:
    """The translations of today's texts; those of texts that are gone are dropped."""
    catalog = translations(language)
    catalog.update(texts(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    return catalog


def missing(catalog: Catalog) -> list[str]:
    """Texts without translation."""
    found = []
    for message in catalog:
        said = [message.string] if isinstance(message.string, str) else message.string or [""]
        if message.id and not all(said):
            found.append(str(message.id))
    return found


def main() -> None:
    """Update or look."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--missing", action="store_true")
    given = parser.parse_args()
    catalog = update("zh_Hant")
    lacking = missing(catalog)
    if not given.missing:
        LOCALE.mkdir(exist_ok=True)
        with (LOCALE / "zh_Hant.po").open("wb") as stream:
            write_po(stream, catalog, width=100, include_lineno=False, sort_output=True)
    for text in lacking:
        print(text)
    if given.missing and lacking:
        sys.exit(1)
    print(f"{len(catalog)} texts, {len(lacking)} without translation", file=sys.stderr)


if __name__ == "__main__":
    main()
