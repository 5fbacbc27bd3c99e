"""Every shape of time that real audit logs hold."""

from __future__ import annotations

import pytest

from affidavit.ingest.rejects import RejectedRecord
from affidavit.ingest.times import parse_vendor_time

MOMENT = 1_675_191_507_000_000  # 2023-01-31T18:58:27Z


@pytest.mark.parametrize(
    ("value", "microseconds"),
    [
        ("2023-01-31T18:58:27Z", MOMENT),
        ("2023-01-31T18:58:27.638Z", MOMENT + 638_000),
        ("2023-01-31 18:58:27.638", MOMENT + 638_000),
        ("2023-01-31 18:58:27", MOMENT),
        ("2023-01-31 18:58:27Z", MOMENT),
        ("2023-01-31T18:58:27", MOMENT),
        ("2023-01-31T18:58:27.1Z", MOMENT + 100_000),
        ("2023-01-31T18:58:27.123456Z", MOMENT + 123_456),
        ("2023-01-31T18:58:27.4097000Z", MOMENT + 409_700),
        ("2023-01-31T18:58:27.576347902Z", MOMENT + 576_347),
        ("2023-01-31T18:58:27.999999999Z", MOMENT + 999_999),
        ("2023-01-31T11:58:27.700-07:00", MOMENT + 700_000),
        ("2023-01-31T18:58:27.000+0000", MOMENT),
        ("2023-02-01T00:28:27+05:30", MOMENT),
        ("2023-01-31t18:58:27z", MOMENT),
        ("2023-01-31T18:58:27,5Z", MOMENT + 500_000),
        (" 2023-01-31T18:58:27Z ", MOMENT),
        (1675191507, MOMENT),
        (1675191507.344609, MOMENT + 344_609),
        (1675191507638, MOMENT + 638_000),
        (1675191507638.0, MOMENT + 638_000),
        (1675191507638123, MOMENT + 638_123),
        (1675191507638123456, MOMENT + 638_123),
        ("1675191507", MOMENT),
        ("1675191507.594", MOMENT + 594_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2016-12-31T23:59:60Z", 1_483_228_799_999_999),
    ],
)
def test_shapes(value: object, microseconds: int) -> None:
    """A time means the same moment in every shape, cut to the microsecond."""
    assert parse_vendor_time(value, "time") == microseconds


@pytest.mark.parametrize(
    "value",
    [
        "redacted",
        "2026-02-30T00:00:00Z",
        "2023-13-01T00:00:00Z",
        "2023-01-31T24:00:00Z",
        "2023-01-31T18:58:27+25:00",
        "2023-01-31T18:58:27+01:75",
        "2023-01-31",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        -1,
        True,
        float("inf"),
        float("nan"),
        10**25,
        "٢٠٢٣-01-31T18:58:27Z",
        "2023-01-31T18:58:27Z\n2",
        [],
    ],
)
def test_no_time(value: object) -> None:
    """What is no moment between 1970 and 9999 is a named reject, never a guess."""
    with pytest.raises(RejectedRecord) as caught:
        parse_vendor_time(value, "eventTime")
    assert (caught.value.field, caught.value.rule) == ("eventTime", "time")


@pytest.mark.parametrize("value", [None, ""])
def test_missing(value: object) -> None:
    """A record without a time is refused by another rule than one with a bad time."""
    with pytest.raises(RejectedRecord) as caught:
        parse_vendor_time(value, "published")
    assert (caught.value.field, caught.value.rule) == ("published", "required")
