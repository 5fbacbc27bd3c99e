"""Passwords and tokens as they are stored."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from hashlib import scrypt, sha256

__all__ = ["NOBODY", "hash_of", "hashed", "matches", "new_token"]

_SALT = 16


def hashed(password: str) -> str:
    """A password as it is stored: salt and hash."""
    salt = os.urandom(_SALT)
    return base64.b64encode(salt + _hash(password, salt)).decode()


def matches(password: str, stored: str) -> bool:
    """Whether this is the password that was stored."""
    known = base64.b64decode(stored)
    return hmac.compare_digest(_hash(password, known[:_SALT]), known[_SALT:])


def _hash(password: str, salt: bytes) -> bytes:
    return scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)


NOBODY = hashed(secrets.token_hex())
"""What no password matches: an unknown address takes as long as a wrong password."""


def hash_of(token: str) -> str:
    """A token as it is stored: long and random as it is, one round is enough."""
    return sha256(token.encode()).hexdigest()


def new_token(prefix: str = "") -> str:
    """A token that nobody guesses."""
    return prefix + secrets.token_urlsafe(32)
