"""API keys: long random words, of which the service knows the hashes only.

A key carries 256 bits of chance, so one SHA-256 protects it; slow hashes are for words that people choose.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence

PREFIX = "mien_"


def new_key() -> str:
    """Return a fresh key.

    >>> new_key() != new_key() and new_key().startswith(PREFIX)
    True
    """
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """Return what the service is told of a key, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def opens(key: str | None, hashes: Sequence[str]) -> bool:
    """Return whether a key is one of those with these hashes, in a time that does not tell how close it came.

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
