"""Counts by hour, action, outcome or severity: of whole hours, of parts of hours, of the tail; bounded.

An engine says where these stand (:class:`Counted`); which of them a question needs is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from affidavit.core.filter import Filter
from affidavit.core.ids import MAX_MICROSECONDS, first_id, last_id, microseconds_of
from affidavit.core.times import HOUR
from affidavit.storage.protocols import CountBy
from affidavit.storage.sql.conditions import Dialect, Expression, impossible

__all__ = ["EDGE", "HOURLY", "Counted", "Kinds", "Totals", "add_counts"]

Totals = dict[int | str, list[int]]
"""Key to the number of events and of failures among them."""
Kinds = tuple[bytes, str, str, str]
"""Id, action, outcome and severity of an event."""

EDGE = 20_000
"""Events of a part of an hour that are counted one by one."""
HOURLY = 150_000
"""Hourly counts of one organization that one answer reads: those of the newest hours."""


class Counted(Protocol):
    """One organization's events within one moment, counted or as they stand."""

    def hourly(
        self, narrowed: Sequence[Expression], by: CountBy, first: int, last: int
    ) -> tuple[Iterable[tuple[int | str, int, int]], bool]:
        """Key, events and failures of the hours from first to last, and whether there are too many hours."""
        ...

    def tail(self, narrowed: Sequence[Expression], first: int, last: int) -> tuple[Iterable[Kinds], bool]:
        """Events of these hours that the hourly counts lack, and whether only the newest of them."""
        ...

    def rows(self, narrowed: Sequence[Expression], low: bytes, high: bytes) -> Iterable[Kinds]:
        """Events of a closed range of ids, the newest :data:`EDGE` of them."""
        ...


def add_counts(counted: Counted, dialect: Dialect, filter_: Filter, by: CountBy, totals: Totals) -> bool:
    """Add one organization's counts; whether a bound on the work was reached."""
    if impossible(filter_):
        return False
    narrowed = dialect.narrowing(filter_.conditions)
    first = -(-filter_.start // HOUR) if filter_.start is not None else 0
    last = (filter_.end + 1) // HOUR - 1 if filter_.end is not None else MAX_MICROSECONDS // HOUR - 1
    at_least = False
    if first <= last:
        rows, bounded = counted.hourly(narrowed, by, first, last)
        at_least |= bounded
        for key, events, failures in rows:
            _add(totals, key, events, failures)
        newest, bounded = counted.tail(narrowed, first, last)
        at_least |= bounded
        _add_each(newest, by, totals)
    for low, high in _edges(filter_, first, last):
        at_least |= _add_each(counted.rows(narrowed, low, high), by, totals) == EDGE
    return at_least


def _edges(filter_: Filter, first: int, last: int) -> Iterator[tuple[bytes, bytes]]:
    """The parts of hours at both ends of the dates, as closed ranges of ids."""
    start, end = filter_.start, filter_.end
    if first > last:
        if start is not None and end is not None and start <= end:
            yield first_id(start), last_id(end)
        return
    if start is not None and start < first * HOUR:
        yield first_id(start), last_id(first * HOUR - 1)
    if end is not None and (last + 1) * HOUR <= end:
        yield first_id((last + 1) * HOUR), last_id(end)


def _add(totals: Totals, key: int | str, count: int, failures: int) -> None:
    entry = totals.setdefault(key, [0, 0])
    entry[0] += count
    entry[1] += failures


def _add_each(rows: Iterable[Kinds], by: CountBy, totals: Totals) -> int:
    counted = 0
    for id_, action, outcome, severity in rows:
        kinds: dict[CountBy, int | str] = {
            "hour": microseconds_of(id_) // HOUR,
            "action": action,
            "outcome": outcome,
            "severity": severity,
        }
        _add(totals, kinds[by], 1, int(outcome == "failure"))
        counted += 1
    return counted
