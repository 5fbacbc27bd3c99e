"""The text of a secret that we hand out once: 256 random bits, a prefix to recognise it by, a checksum.

``aff_`` for API tokens, then 43 characters of base 62 and 6 more of their CRC-32 in base 62. A typing
error, or a scanner's false hit, is told from a real token without asking the database. The same form
serves login codes and session ids under prefixes of their own.
"""

from __future__ import annotations

import hmac
import re
import zlib
from collections.abc import Callable
from hashlib import sha256
from typing import Final

__all__ = ["LOGIN", "SESSION", "TOKEN", "hash_secret", "is_well_formed", "make_secret", "same_hash"]

TOKEN: Final = "aff_"  # noqa: S105 - the public prefix
LOGIN: Final = "affl_"
SESSION: Final = "affs_"

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY = 43
_CHECK = 6
_FORM = re.compile(r"aff[ls]?_[0-9A-Za-z]{49}\Z")


def make_secret(prefix: str, entropy: Callable[[int], bytes]) -> str:
    """A new secret text of 256 bits taken from ``entropy``."""
    body = prefix + _base62(int.from_bytes(entropy(32), "big"), _BODY)
    return body + _checksum(body)


def is_well_formed(text: str, prefix: str) -> bool:
    """Whether ``text`` has the prefix, the length and the right checksum."""
    return (
        text.startswith(prefix)
        and _FORM.match(text) is not None
        and hmac.compare_digest(text[-_CHECK:], _checksum(text[:-_CHECK]))
    )


def hash_secret(text: str) -> bytes:
    """What is stored of it: SHA-256. 256 random bits need no slow hash."""
    return sha256(text.encode()).digest()


def same_hash(one: bytes, other: bytes) -> bool:
    """Compare two hashes in constant time."""
    return hmac.compare_digest(one, other)


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECK)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
