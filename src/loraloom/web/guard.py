"""What every request must pass before a route sees it, and what every answer carries.

A studio without login is safe on 127.0.0.1 only if no other site can speak to it through its user's
browser: the Host must be ours (against DNS rebinding), and what changes anything must come from our
own pages.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loraloom.web.problems import Problem

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
ANSWERED_WITH = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
COOKIE = "loraloom"
"""In the name of the cookie that signs somebody in."""
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::([0-9]{1,5}))?", re.A)


class Guard:
    """Refuses requests to other hosts, and changes asked for by other sites."""

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str], *, addresses_at: int | None = None
    ) -> None:
        """`hosts`: "name:port", or "name" for any port.

        `addresses_at`: the port at which every address in numbers is ours too; nobody can point
        such a one elsewhere.
        """
        self._app = app
        self._hosts = frozenset(filter(None, map(canonical, hosts)))
        self._named = " or ".join(sorted(hosts))
        self._addresses_at = addresses_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI."""
        if scope["type"] == "websocket":  # there are none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ANSWERED_WITH.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope["method"], scope["scheme"], Headers(scope=scope))
        if refused:
            await refused.response(Request(scope))(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)

    def _refusal(self, method: str, scheme: str, headers: Headers) -> Problem | None:
        given = headers.getlist("host")
        host = canonical(given[0], scheme) if len(given) == 1 else None
        if host is None or not self._is_ours(host):
            named = given[0] if len(given) == 1 else "" if not given else "several hosts"
            return Problem(
                421, "host_unknown", f"This studio answers at {self._named}, not at {named[:200]!r}"
                ". Open that address, or name this one with --allow-host.",
            )  # fmt: skip
        if method in SAFE or _is_own(headers, host, scheme):
            return None
        return Problem(
            403, "origin_foreign", "This change was asked for by another site, and was not "
            "made. Open the studio's own page and do it there.",
        )  # fmt: skip

    def _is_ours(self, host: str) -> bool:
        name, _, port = host.rpartition(":") if _has_port(host) else (host, "", "")
        if host in self._hosts or name in self._hosts:
            return True
        return self._addresses_at is not None and port == str(self._addresses_at) and _is_ip(name)


def canonical(host: str, scheme: str = "") -> str | None:
    """A Host in the one form in which it is compared: lower case, "name:port"; None if it is none.

    The scheme's usual port is added where none is given.
    """
    found = _HOST.fullmatch(host.lower())
    if found is None or (found[2] and not 0 < int(found[2]) < 65536):
        return None
    name = found[1]
    if name.startswith("["):
        try:
            name = f"[{ipaddress.IPv6Address(name[1:-1]).compressed}]"
        except ValueError:
            return None
    port = int(found[2]) if found[2] else _PORTS.get(scheme)
    return name if port is None else f"{name}:{port}"


def _is_own(headers: Headers, host: str, scheme: str) -> bool:
    """Whether a change comes from our pages, or from a program that is no browser.

    Browsers since 2023 tell by Sec-Fetch-Site, those since 2020 by Origin, and earlier ones, where
    they tell at all, by Referer.
    """
    if headers.get("sec-fetch-site") not in (None, "same-origin", "none"):
        return False
    origins = headers.getlist("origin")
    if origins:
        return len(origins) == 1 and _is_origin(origins[0], host, scheme)
    if "sec-fetch-site" in headers:
        return True
    referer = headers.get("referer")
    if referer is not None:
        return _is_origin(referer, host, scheme)
    return COOKIE not in headers.get("cookie", "")


def _is_origin(url: str, host: str, scheme: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    # What encrypts in front of us may not have told us; but what is encrypted here stays so.
    known = parts.scheme == scheme or (scheme == "http" and parts.scheme == "https")
    if not known or "@" in parts.netloc:
        return False
    given = canonical(parts.netloc, parts.scheme)
    return given is not None and given in (host, _with_usual_port(host, scheme, parts.scheme))


def _with_usual_port(host: str, scheme: str, other: str) -> str:
    """The host at the usual port of another scheme, where it is at the usual one of its own."""
    name, _, port = host.rpartition(":")
    return f"{name}:{_PORTS[other]}" if port == str(_PORTS.get(scheme)) else host


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdecimal() and not host.endswith("]")


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
