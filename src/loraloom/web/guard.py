"""What every request must pass before a route sees it, and what every answer carries.

A studio without login is safe on 127.0.0.1 only if no other site can speak to it through its user's
browser: the Host must be ours (against DNS rebinding), and what changes anything must come from our
own pages.
"""

from __future__ import annotations

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
}


class Guard:
    """Refuses requests to other hosts, and changes asked for by other sites."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in ANSWERED_WITH.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope["method"], Headers(scope=scope))
        if refused:
            await refused.response(Request(scope))(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)

    def _refusal(self, method: str, headers: Headers) -> Problem | None:
        host = headers.get("host", "")
        if host not in self._hosts:
            known = " or ".join(sorted(self._hosts))
            return Problem(
                421, "host_unknown", f"This studio answers at {known}, not at {host!r}. Open that "
                "address, or name this one with --allow-host.",
            )  # fmt: skip
        if method in SAFE:
            return None
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site")
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or site not in (None, "same-origin", "none"):
            return Problem(
                403, "origin_foreign", "This change was asked for by another site, and was not "
                "made. Open the studio's own page and do it there.",
            )  # fmt: skip
        return None
