"""Random secrets, of which only a hash is kept."""

from __future__ import annotations

import hashlib
import secrets


def made() -> tuple[str, str]:
    """A secret of 256 bits, and what is kept of it."""
    secret = secrets.token_urlsafe(32)
    return secret, kept(secret)


def kept(secret: str) -> str:
    """SHA-256, in hexadecimal; no salt is needed for what cannot be guessed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
