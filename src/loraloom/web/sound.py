"""Bodies hold text only: JSON can name halves of characters, which nothing can store."""

from __future__ import annotations

import json
import re

from fastapi import Request
from starlette.exceptions import HTTPException

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""One of a pair, or one alone; which of them is only known once it is read."""


async def sound_body(request: Request) -> None:
    """Refuse JSON with half of a surrogate pair. Raises HTTPException."""
    kind = request.headers.get("content-type", "")
    if "json" not in kind or getattr(request.scope.get("route"), "body_field", None) is None:
        return
    raw = await request.body()
    if _HALF.search(raw):
        try:
            json.dumps(json.loads(raw), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise HTTPException(422, "The text holds half of a surrogate pair.") from None
        except (ValueError, RecursionError):
            return  # which is told where the body is read
