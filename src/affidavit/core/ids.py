"""Event ids: UUIDv7 whose order is the order of ``occurred_at``, to the microsecond.

RFC 9562 section 5.7 with method 3 of section 6.2: 48 bits of milliseconds, 12 bits of the
microseconds within that millisecond scaled to 4096, and 62 bits that are random or keyed. Ids are
handled as 16 bytes; their big-endian order is time order, so a range of time is a range of ids.
"""

from __future__ import annotations

from hashlib import sha256

from affidavit.core.forms import MAX_MICROSECONDS, format_id, microseconds_of
from affidavit.errors import InvalidQuery

__all__ = [
    "MAX_MICROSECONDS",
    "first_id",
    "format_id",
    "keyed_tail",
    "last_id",
    "make_id",
    "microseconds_of",
    "parse_id",
]

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_TAIL = (1 << 62) - 1


def _head(microseconds: int) -> int:
    milliseconds, rest = divmod(microseconds, 1000)
    return milliseconds << 80 | _VERSION | (rest * 4096 // 1000) << 64 | _VARIANT


def make_id(microseconds: int, tail: int) -> bytes:
    """The id of an event that occurred at ``microseconds`` since 1970 UTC.

    Args:
        microseconds: 0 to :data:`MAX_MICROSECONDS`.
        tail: at least 62 bits, random or from :func:`keyed_tail`; higher bits are ignored.
    """
    return (_head(microseconds) | tail & _TAIL).to_bytes(16, "big")


def keyed_tail(secret: bytes, key: str) -> int:
    """The 62 bits that an idempotency key gives under an organization's 32-byte secret."""
    return int.from_bytes(sha256(secret + key.encode()).digest()[:8], "big") >> 2


def first_id(microseconds: int) -> bytes:
    """The smallest id of that microsecond (inclusive lower bound of a range)."""
    return make_id(microseconds, 0)


def last_id(microseconds: int) -> bytes:
    """The greatest id of that microsecond (inclusive upper bound of a range)."""
    return make_id(microseconds, _TAIL)


_HEX = frozenset("0123456789abcdef")


def parse_id(text: str, parameter: str = "id") -> bytes:
    """The 16 bytes of a canonical lower- or upper-case UUIDv7.

    Raises:
        InvalidQuery: the text is not a UUID of version 7 and the RFC 9562 variant.
    """
    parts = text.lower().split("-")
    digits = "".join(parts)
    if (
        [len(part) for part in parts] != [8, 4, 4, 4, 12]
        or not _HEX.issuperset(digits)
        or digits[12] != "7"
        or digits[16] not in "89ab"
    ):
        raise InvalidQuery.of(parameter, "uuid7", "must be a UUID of version 7", text[:100])
    return bytes.fromhex(digits)
