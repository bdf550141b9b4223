"""Passwords: which are accepted, and what is kept of them."""

from __future__ import annotations

import threading
import unicodedata
from functools import cache
from importlib.resources import files

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from loraloom.errors import PasswordRefused

LEAST, MOST = 10, 256
"""Characters. Nothing is asked of their kinds (NIST SP 800-63B)."""
HASHER = PasswordHasher()
"""Argon2id with the second choice of RFC 9106: 64 MiB, 3 passes."""
_turn = threading.Semaphore(2)
"""So that many attempts at once do not take all memory."""


def check(password: str, *names: str) -> None:
    """Raises PasswordRefused for one that is easily guessed; `names` are its owner's."""
    known = password.casefold()
    if len(password) < LEAST:
        raise PasswordRefused(
            f"This password has {len(password)} characters, and at least {LEAST} are needed. A few "
            "words in a row are easy to remember."
        )
    if len(password) > MOST or not _is_text(password):
        raise PasswordRefused(f"A password is text of at most {MOST} characters.")
    if known in _common() or len(set(known)) < 4 or known.strip("0123456789!.") in _common():
        raise PasswordRefused(
            "This password is among the first that are guessed. Choose another, such as a few "
            "words that have nothing to do with each other."
        )
    if any(len(name) > 3 and name.casefold() in known for name in (*names, "loraloom")):
        raise PasswordRefused("A password must not contain its owner's name or the studio's.")


def hashed(password: str) -> str:
    """What is kept."""
    with _turn:
        return HASHER.hash(_normal(password))


def fits(password: str, kept: str | None) -> bool:
    """Whether it is the one; without `kept` it is not, and finding that out takes as long."""
    if len(password) > MOST or not _is_text(password):
        return False
    with _turn:
        try:
            HASHER.verify(kept or _nobodys(), _normal(password))
        except (VerificationError, InvalidHashError):
            return False
    return bool(kept)


def is_old(kept: str) -> bool:
    """Whether it was kept with parameters of an earlier time."""
    return HASHER.check_needs_rehash(kept)


def _is_text(password: str) -> bool:
    """Not half a character, which has no bytes."""
    return not any("\ud800" <= sign <= "\udfff" for sign in password)


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _nobodys() -> str:
    return _made_for(HASHER)


@cache
def _made_for(hasher: PasswordHasher) -> str:
    return hasher.hash("nobody has this password")


@cache
def _common() -> frozenset[str]:
    path = files("loraloom") / "data" / "common_passwords.txt"
    return frozenset(path.read_text(encoding="utf-8").split())
