"""How fast an address is asked, and how long it is waited for after a refusal."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


class Pace:
    """At most `per_minute` requests a minute, evenly; 0 is as fast as they are answered."""

    def __init__(
        self,
        per_minute: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._between_s = 60 / per_minute if per_minute else 0.0
        self._clock, self.sleep = clock, sleep
        self._next = 0.0

    def wait(self) -> None:
        """Until the next request may go out."""
        now = self._clock()
        if now < self._next:
            self.sleep(self._next - now)
        self._next = max(now, self._next) + self._between_s


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long the server asks to wait (RFC 9110, 10.2.3: seconds or a date); None: it does not."""
    given = headers.get("retry-after", "").strip()
    if given.replace(".", "", 1).isdecimal():
        return float(given)
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def pause_s(attempt: int, first_s: float) -> float:
    """The pause after attempt 0, 1, 2 …: doubling, and a little uneven."""
    return first_s * float(2**attempt) * random.uniform(0.8, 1.2)
