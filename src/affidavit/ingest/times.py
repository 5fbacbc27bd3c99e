"""The time of a vendor's record, in microseconds since 1970 UTC.

Accepted, because all of them occur in real audit logs:

* RFC 3339 and its relatives: ``T`` or a space between date and time, 0 to 9 digits of a second (the comma of
  ISO 8601 too), ``Z``, ``+01:00``, ``+0100``, ``+01`` or no zone at all, which is read as UTC;
* numbers, and texts that are numbers, since 1970 UTC: seconds below 100 thousand million, milliseconds below
  10 to the 14th, microseconds below 10 to the 17th, nanoseconds above; fractions of a second or millisecond.

Digits below a microsecond are cut, never rounded. A leap second (``:60``) becomes the
last microsecond of its minute.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from affidavit.core.ids import MAX_MICROSECONDS
from affidavit.ingest.rejects import RejectedRecord

__all__ = ["parse_vendor_time"]

_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?"
    r"(?:[Zz]|UTC|([+-])(\d\d):?(\d\d)?)?\Z",
    re.ASCII,
)
_NUMBER = re.compile(r"\d{1,19}(?:\.\d{1,18})?\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def parse_vendor_time(value: Any, field: str) -> int:
    """Read a vendor's time.

    Args:
        value: text or number, as it stands in the record.
        field: its name, for the error.

    Returns:
        Microseconds since 1970 UTC.

    Raises:
        RejectedRecord: rule ``required`` where there is none, ``time`` where it cannot be read or lies
        outside
            1970 to 9999.
    """
    if value is None or value == "":
        raise RejectedRecord(field, "required", "the record has no time")
    if isinstance(value, str):
        moment = _from_text(value.strip())
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        moment = _from_number(repr(value))
    else:
        moment = None
    if moment is None or not 0 <= moment <= MAX_MICROSECONDS:
        raise RejectedRecord(field, "time", f"is not a time that can be read: {str(value)[:100]!r}")
    return moment


def _from_text(text: str) -> int | None:
    match = _TEXT.match(text)
    if match is None:
        return _from_number(text)
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = match.groups()
    micro = int((fraction or "").ljust(6, "0")[:6])
    leap = second == "60"
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour),
            int(minute),
            59 if leap else int(second),
            999_999 if leap else micro,
            tzinfo=_zone(sign, zone_hours, zone_minutes),
        )
        return (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None


def _zone(sign: str | None, hours: str | None, minutes: str | None) -> timezone:
    if sign is None or hours is None:
        return UTC
    if int(minutes or 0) > 59:
        raise ValueError("minutes of a zone")
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
    return timezone(-offset if sign == "-" else offset)


def _from_number(text: str) -> int | None:
    if not _NUMBER.match(text):
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if number < 100_000_000_000:
        return int(number * 1_000_000)
    if number < 10**14:
        return int(number * 1000)
    return int(number) if number < 10**17 else int(number) // 1000
