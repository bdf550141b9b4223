"""Where a request comes from, by the word of the proxy in front of the studio."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send


class Proxied:
    """Takes the last entries of X-Forwarded-For and -Proto: those that our own proxy wrote."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            came_from = ",".join(headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
            scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip()
            if came_from:
                scope["client"] = (came_from[:60], 0)
            if scheme in ("http", "https"):
                scope["scheme"] = scheme
        await self._app(scope, receive, send)
