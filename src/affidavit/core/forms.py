"""How ids and moments are written: the forms that the leaf, and so every proof, depends on.

One of the modules of the verifier (docs/spec/verification.md): it imports the standard library only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

__all__ = ["MAX_MICROSECONDS", "format_id", "format_time", "microseconds_of", "read_time"]

MAX_MICROSECONDS = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z, the last moment that RFC 3339 can write."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds_of(event_id: bytes) -> int:
    """The moment an id was made for, in microseconds since 1970 UTC."""
    number = int.from_bytes(event_id[:8], "big")
    # rand_a is floor(us * 4096 / 1000); the ceiling of its inverse gives back exactly us.
    return (number >> 16) * 1000 + -(-(number & 0xFFF) * 1000 // 4096)


def format_id(event_id: bytes) -> str:
    """The 36 characters of RFC 9562, lower case."""
    text = event_id.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


def format_time(microseconds: int) -> str:
    """RFC 3339 in UTC with six digits: ``2026-11-21T05:29:43.000000Z``."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}Z"


def read_time(text: str) -> int:
    """The inverse of :func:`format_time`, for exactly its 27 characters.

    Raises:
        ValueError: any other text.
    """
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    microseconds = (moment - _EPOCH) // _MICROSECOND
    if microseconds < 0 or format_time(microseconds) != text:
        raise ValueError(f"no moment in the form of the log: {text[:40]!r}")
    return microseconds
