"""Moments: microseconds since 1970 UTC inside, RFC 3339 with ``Z`` and six digits outside."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

from affidavit.core.forms import MAX_MICROSECONDS, format_time
from affidavit.errors import InvalidQuery

__all__ = ["DAY", "HOUR", "MINUTE", "SECOND", "TimeError", "format_time", "parse_bound", "parse_time"]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,30}))?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)


class TimeError(ValueError):
    """A text that is no moment; the message says why and carries no value."""


def parse_time(value: object) -> int:
    """Microseconds since 1970 UTC of RFC 3339 text with a zone, an aware datetime, or microseconds.

    More than six digits of a second are cut, not rounded.

    Raises:
        TimeError: not such a value, no zone, no such day, or outside 1970 to 9999.
    """
    if type(value) is str:
        match = _RFC3339.match(value)
        if match is None:
            raise TimeError("must be RFC 3339 with a zone, such as 2026-11-21T05:29:43.000000Z")
        day, clock, fraction, zone = match.groups()
        fraction = (fraction or "")[:6].ljust(6, "0")
        if zone in "Zz":
            zone = "+00:00"
        try:
            moment = datetime.fromisoformat(f"{day}T{clock}.{fraction}{zone}")
        except ValueError as error:
            raise TimeError(f"is not a moment that exists ({error})") from None
    elif isinstance(value, datetime):
        if value.tzinfo is None:
            raise TimeError("needs a time zone; pass an aware datetime")
        moment = value
    elif type(value) is int:
        if not 0 <= value <= MAX_MICROSECONDS:
            raise TimeError("must lie between the years 1970 and 9999, in microseconds since 1970 UTC")
        return value
    else:
        raise TimeError("must be RFC 3339 text, an aware datetime or microseconds since 1970 UTC")
    microseconds = (moment - _EPOCH) // _MICROSECOND
    if not 0 <= microseconds <= MAX_MICROSECONDS:
        raise TimeError("must lie between the years 1970 and 9999")
    return microseconds


def parse_bound(text: str, parameter: str, *, end: bool) -> int:
    """An inclusive bound of ``occurred_at``: a plain date (a whole UTC day) or RFC 3339.

    Args:
        text: ``2026-01-31`` or ``2026-01-31T08:00:00Z``.
        parameter: named in the error.
        end: a plain date means its last microsecond instead of its first.

    Raises:
        InvalidQuery: neither form, or no such day.
    """
    try:
        if _DATE.match(text):
            try:
                day = date.fromisoformat(text)
            except ValueError as error:
                raise TimeError(f"is not a day that exists ({error})") from None
            start = parse_time(datetime(day.year, day.month, day.day, tzinfo=UTC))
            return start + DAY - 1 if end else start
        return parse_time(text)
    except TimeError as error:
        raise InvalidQuery.of(parameter, "date", f"{error}", text[:100]) from None
