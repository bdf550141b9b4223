"""The language of a request, and texts in it."""

from __future__ import annotations

import gettext as standard
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from io import BytesIO

from babel import Locale, negotiate_locale
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "language"
TITLES = {"en": "English", "zh_Hant": "繁體中文"}
"""The languages that there are, in their own words."""
_ACCEPTED = {"en": "en"} | dict.fromkeys(("zh_TW", "zh_HK", "zh_Hant", "zh"), "zh_Hant")
"""What browsers may ask for -> the language that they get."""
_language: ContextVar[str] = ContextVar("language", default="en")


class Language:
    """Chooses the language of each request: the user's choice, else the browser's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI."""
        if scope["type"] == "http":
            _language.set(choose(Request(scope)))
        await self._app(scope, receive, send)


def choose(request: Request) -> str:
    """The language for a request."""
    chosen = request.cookies.get(COOKIE)
    if chosen in TITLES:
        return chosen
    wanted = [part.partition(";")[0].strip().replace("-", "_")
              for part in request.headers.get("accept-language", "").split(",")]  # fmt: skip
    return _ACCEPTED[negotiate_locale(wanted, list(_ACCEPTED)) or "en"]


def language() -> str:
    """Of the request at hand."""
    return _language.get()


def locale() -> Locale:
    """Of the request at hand, for numbers and times."""
    return Locale.parse(language())


def translate(message: str) -> str:
    """The text in the language of the request; itself where there is none."""
    return _catalogue(language()).gettext(message)


def translate_plural(one: str, many: str, count: int) -> str:
    """The text that goes with a count."""
    return _catalogue(language()).ngettext(one, many, count)


@cache
def _catalogue(language: str) -> standard.NullTranslations:
    found = messages(language)
    if not found:
        return standard.NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, found)
    compiled.seek(0)
    return standard.GNUTranslations(compiled)


@cache
def messages(language: str) -> Catalog:
    """All texts of a language; none of English, which they are written in."""
    path = files("loraloom") / "web" / "locale" / f"{language}.po"
    if not path.is_file():
        return Catalog()
    with path.open("rb") as stream:
        return read_po(stream, language)
