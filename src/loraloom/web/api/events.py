"""GET /events: what happens to jobs, as it happens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse

from loraloom.web.live import Live
from loraloom.web.problems import ANSWERS
from loraloom.web.who import EntryNow

router = APIRouter(tags=["jobs"], responses=ANSWERS)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"description": "Server-sent events", "content": {"text/event-stream": {}}}},
)
def events(
    request: Request,
    entry: EntryNow,
    after: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Stream what happens to the jobs one may see: each `data` is a list of events.

    Each event holds the number of its job.

    From now on, or from behind the event numbered `after` or `Last-Event-ID`, which browsers send
    when they connect again.
    """
    live: Live = request.app.state.live
    known = int(last_event_id) if last_event_id and last_event_id.isdecimal() else after
    return StreamingResponse(
        live.stream(known, entry),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
