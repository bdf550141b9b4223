"""Pages from templates. A page always answers whole; scripts take the part of it that they need."""

from __future__ import annotations

import datetime
import time
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from babel.dates import format_datetime, format_timedelta
from babel.numbers import format_decimal
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

import loraloom
from loraloom.studio.rights import Action, may
from loraloom.web import texts
from loraloom.web.problems import Problem
from loraloom.web.said import said
from loraloom.web.who import Owned, entry, studio

FLASH = "notice"
"""The cookie that holds a sentence for the next page."""


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """A whole page; a sentence that `back` left is shown on it once."""
    theme = request.cookies.get("theme", "auto")
    notice = request.cookies.get(FLASH)
    person = entry(request).person
    names = cache(lambda: {one.id: one.name for one in studio(request).people.all()})

    def can(action: Action, thing: Owned | None = None) -> bool:
        """Whether whoever asks may do that, to a thing or at all."""
        if thing is None:
            return may(person, action)
        return may(person, action, thing.owner_id, thing.visibility)

    def owner_of(thing: Owned) -> str:
        """Whose it is, if it is somebody else's."""
        number = thing.owner_id
        return "" if number in (None, person.id) else names().get(number, "")

    html = _environment().get_template(template).render(
        request=request,
        studio=studio(request),
        person=person,
        is_team=entry(request).is_team,
        can=can,
        owner_of=owner_of,
        projects=cache(lambda: studio(request).projects.all()),
        path=request.url.path,
        theme=theme if theme in ("light", "dark") else "auto",
        language=texts.language(),
        languages=texts.TITLES,
        notice=unquote(notice) if notice else None,
        **values,
    )  # fmt: skip
    response = HTMLResponse(html, status, headers={"Cache-Control": "no-store"})
    if notice:
        response.delete_cookie(FLASH)
    return response


def part(template: str, **values: Any) -> str:
    """A template alone: what is downloaded, without the frame of a page."""
    return _environment().get_template(template).render(**values)


def back(url: str, sentence: str = "") -> Response:
    """After a change: on to a page of ours, which shows the sentence."""
    response = RedirectResponse(url, status_code=303)
    if sentence:
        response.set_cookie(FLASH, quote(sentence[:500]), max_age=60, samesite="strict")
    return response


def notice(problem: Problem) -> Response:
    """An error for a part of a page: it joins the notices and leaves the part as it was."""
    html = _environment().get_template("notice.html").render(problem=problem)
    headers = {"HX-Retarget": "#notices", "HX-Reswap": "beforeend", "HX-Reselect": ".notice"}
    return HTMLResponse(html, problem.status, headers=headers)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("loraloom.web"),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.install_gettext_callables(  # type: ignore[attr-defined]
        texts.translate, texts.translate_plural, newstyle=True
    )
    made.globals |= {"static": static, "version": loraloom.__version__}
    made.filters |= {
        "ago": ago, "when": when, "number": number, "span": span, "bytes": size,
        "filename": lambda path: Path(str(path)).name, "said": said,
    }  # fmt: skip
    return made


def static(name: str) -> str:
    """The address of one of our own files."""
    return f"/static/{loraloom.__version__}/{name}"


def ago(seconds: float) -> str:
    """A moment, in seconds since 1970, as "5 minutes ago"."""
    delta = round(seconds - time.time())
    return format_timedelta(delta, add_direction=True, locale=texts.locale())


def when(seconds: float) -> str:
    """A moment as date and time of this machine."""
    here = datetime.datetime.fromtimestamp(seconds).astimezone()
    return format_datetime(here, "medium", locale=texts.locale())


def span(seconds: float) -> str:
    """A length of time: "12 minutes"."""
    return format_timedelta(round(seconds), threshold=1.5, locale=texts.locale())


def number(value: float, digits: int = 0) -> str:
    """A number with the separators of the language."""
    return format_decimal(round(value, digits), locale=texts.locale())


def size(count: float) -> str:
    """Bytes as "12.3 MiB"."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{number(count, 1)} {unit}"
    return f"{number(count / 1024, 1)} TiB"
