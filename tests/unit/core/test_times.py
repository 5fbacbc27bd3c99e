"""Times: RFC 3339 in and out, cut to microseconds, and plain dates as inclusive bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.core.times import DAY, TimeError, format_time, parse_bound, parse_time
from affidavit.errors import InvalidQuery

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.integers(86_400, 253_402_128_000).flatmap(
    lambda second: st.integers(0, 999_999).map(
        lambda fraction: EPOCH + timedelta(seconds=second, microseconds=fraction)
    )
)


@given(moments, st.integers(-14 * 60, 14 * 60))
def test_every_spelling_of_a_moment_is_that_moment(moment: datetime, minutes: int) -> None:
    """A moment is the same in every zone, as text and as a datetime, and comes back with Z and six digits."""
    expected = (moment - EPOCH) // timedelta(microseconds=1)
    elsewhere = moment.astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_time(elsewhere) == expected
    assert parse_time(elsewhere.isoformat(timespec="microseconds")) == expected
    assert format_time(expected) == moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    assert parse_time(format_time(expected)) == expected


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("", 0), (".5", 500_000), (".123456", 123_456), (".1234569", 123_456), (".999999999999999", 999_999)],
)
def test_more_than_six_digits_are_cut_not_rounded(text: str, fraction: int) -> None:
    """Nanoseconds of a source do not push an event into the next microsecond."""
    assert parse_time(f"1970-01-01T00:00:01{text}Z") == 1_000_000 + fraction


@pytest.mark.parametrize(
    "value",
    [
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        "２０２６-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        datetime(2026, 1, 1),  # noqa: DTZ001 - the point of it
        -1,
        True,
        1.5,
        None,
    ],
)
def test_what_is_no_moment_is_refused(value: object) -> None:
    """A day that does not exist, a missing zone, other digits and other types are errors."""
    with pytest.raises(TimeError):
        parse_time(value)


def test_a_plain_date_is_inclusive_at_both_ends() -> None:
    """R59: start is 00:00:00, end is the last microsecond of the day, in UTC."""
    start = parse_time("2026-01-31T00:00:00Z")
    assert parse_bound("2026-01-31", "start_date", end=False) == start
    assert parse_bound("2026-01-31", "end_date", end=True) == start + DAY - 1
    assert parse_bound("2026-01-31T08:00:00+01:00", "end_date", end=True) == start + 7 * DAY // 24


def test_a_bound_names_the_parameter_and_the_value() -> None:
    """2026-02-30 is refused by name, not moved to March."""
    with pytest.raises(InvalidQuery) as refused:
        parse_bound("2026-02-30", "start_date", end=False)
    (error,) = refused.value.errors
    assert (error.pointer, error.rule, error.value) == ("start_date", "date", "2026-02-30")
