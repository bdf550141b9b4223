"""ETags: whoever changes a thing can name the state that it was made from, so that no change of
somebody else gets lost (RFC 9110, section 13.1.1)."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel

from loraloom.errors import ChangedMeanwhile

IfMatch = Annotated[str | None, Header(max_length=2000)]
"""The ETag that was read; the change is refused (412) where it is another by now."""


def etag(body: BaseModel) -> str:
    """Of what is told of a thing."""
    return f'"{hashlib.sha256(body.model_dump_json().encode()).hexdigest()[:32]}"'


def refuse_stale(given: str | None, body: BaseModel) -> None:
    """Raises ChangedMeanwhile where the thing is not what If-Match says."""
    if given is None or given.strip() == "*":
        return
    if etag(body) not in (one.strip() for one in given.split(",")):
        raise ChangedMeanwhile(
            "This was changed meanwhile, and your change was not made. Read it again, and repeat "
            "what you want to keep."
        )
