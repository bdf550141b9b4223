"""What a browser remembers of its user: theme, language, and how large pictures are shown."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import RedirectResponse, Response

from loraloom.web import texts

router = APIRouter(prefix="/preferences")
SIZES = ("small", "medium", "large")
_YEAR_S = 365 * 24 * 3600


@router.post("/theme")
def theme(theme: Annotated[str, Form()], then: Annotated[str, Form()] = "/") -> Response:
    """Light or dark, from now on."""
    return _kept("theme", theme if theme in ("light", "dark") else "auto", then)


@router.post("/language")
def language(language: Annotated[str, Form()], then: Annotated[str, Form()] = "/") -> Response:
    """The language of all pages, from now on."""
    return _kept(texts.COOKIE, language if language in texts.TITLES else "en", then)


@router.post("/size")
def size(size: Annotated[str, Form()], then: Annotated[str, Form()] = "/") -> Response:
    """How large the pictures of a dataset are shown, from now on."""
    return _kept("size", size if size in SIZES else "medium", then)


def _kept(name: str, value: str, url: str) -> Response:
    response = RedirectResponse(own(url), status_code=303)
    response.set_cookie(name, value, max_age=_YEAR_S, samesite="strict")
    return response


def own(url: str) -> str:
    """`url` if it is one of our pages, else the first page: nobody is sent to another site."""
    return url if url.startswith("/") and not url.startswith(("//", "/\\")) else "/"
