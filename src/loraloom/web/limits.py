"""How often somebody may ask."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections.abc import Callable

from loraloom.errors import TooManyRequests

_MOST_KEYS = 10_000


class Limit:
    """Lets each key do `count` things at once, and then as many within `per_s` seconds."""

    def __init__(self, count: int, per_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._gap_s = per_s / count
        self._now = now
        self._full_at: dict[str, float] = {}  # when all of a key's count is free again
        self._lock = threading.Lock()

    def wait_s(self, key: str) -> int:
        """Count one more; 0, or the whole seconds to wait, and then it was not counted."""
        with self._lock:
            now = self._now()
            full_at = max(self._full_at.get(key, now), now) + self._gap_s
            late_s = full_at - now - self._count * self._gap_s
            if late_s > 1e-9:
                return math.ceil(late_s)
            self._full_at[key] = full_at
            if len(self._full_at) > _MOST_KEYS:
                self._full_at = {k: at for k, at in self._full_at.items() if at > now}
            return 0

    def forget(self, key: str) -> None:
        """Give a key all of its count again."""
        with self._lock:
            self._full_at.pop(key, None)


class Limits:
    """Those of one server."""

    def __init__(self) -> None:
        self._name_here = Limit(5, 60)
        self._name = Limit(30, 600)
        self._address = Limit(20, 60)
        self._asking = Limit(3000, 60)

    def try_sign_in(self, name: str, address: str) -> None:
        """Before a password is looked at. Raises TooManyRequests."""
        network = _network(address)
        for limit, key in (
            (self._address, network),
            (self._name_here, f"{network} {name}"),
            (self._name, name),
        ):
            _refuse(limit.wait_s(key), "Too many attempts to sign in.")

    def signed_in(self, name: str, address: str) -> None:
        """After the right password: the mistakes before it are forgotten."""
        self._name_here.forget(f"{_network(address)} {name}")

    def wrong_secret(self, address: str) -> None:
        """For each token or link that is none. Raises TooManyRequests."""
        wait_s = self._address.wait_s(_network(address))
        _refuse(wait_s, "Too many tokens or links that are not known.")

    def ask(self, person_id: int) -> None:
        """For each request of somebody to the API. Raises TooManyRequests."""
        wait_s = self._asking.wait_s(str(person_id))
        _refuse(wait_s, "You ask more often than this studio answers.")


def _refuse(wait_s: int, sentence: str) -> None:
    if wait_s:
        raise TooManyRequests(f"{sentence} Try again in {wait_s} seconds.", wait_s)


def _network(address: str) -> str:
    """An address; of IPv6 the network, of which one user has many addresses."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if known.version == 6 and known.ipv4_mapped is None:
        return str(ipaddress.ip_network(f"{known}/64", strict=False))
    return str(getattr(known, "ipv4_mapped", None) or known)
