"""API keys: long random texts, of which the service knows only the hashes.

A key has 256 random bits, so one SHA-256 protects it. Slow hashes are only needed for passwords that people choose.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence

PREFIX = "mien_"


def new_key() -> str:
    """Return a new key.

    >>> new_key() != new_key() and new_key().startswith(PREFIX)
    True
    """
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """Return the hash of a key that the service gets, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def opens(key: str | None, hashes: Sequence[str]) -> bool:
    """Return whether the hash of a key is among ``hashes``; the time of the comparison does not depend on the key.

    >>> opens("secret", [hash_of("other"), hash_of("secret")]), opens("secret", []), opens(None, [hash_of("secret")])
    (True, True, False)
    """
    if not hashes:
        return True
    found = False
    for known in hashes:
        found |= hmac.compare_digest(hash_of(key or ""), known)
    return found and key is not None


def key_in(headers: Mapping[str, str]) -> str | None:
    """Return the key of a request: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``."""
    scheme, _, word = headers.get("authorization", "").partition(" ")
    return word.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
