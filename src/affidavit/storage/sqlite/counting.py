"""Counts by hour, action, outcome or severity, from hourly counts, the tail and parts of hours; bounded."""

from __future__ import annotations

from collections.abc import Iterable

from affidavit.core.filter import Filter
from affidavit.core.ids import MAX_MICROSECONDS, first_id, last_id, microseconds_of
from affidavit.core.times import HOUR
from affidavit.storage.protocols import CountBy
from affidavit.storage.sqlite import plan
from affidavit.storage.sqlite.plan import Expression
from affidavit.storage.sqlite.readers import Session
from affidavit.storage.sqlite.search import LONG_TAIL

__all__ = ["Totals", "add_counts"]

Totals = dict[int | str, list[int]]
"""Key to the number of events and of failures among them."""

_EDGE = 20_000
"""Events of a part of an hour that are counted one by one."""
_HOURLY = 150_000
"""Hourly counts of one organization that one answer reads: those of the newest hours."""


def add_counts(session: Session, organization: str, filter_: Filter, by: CountBy, totals: Totals) -> bool:
    """Add one organization's counts; whether a bound on the work was reached."""
    if plan.impossible(filter_):
        return False
    narrowed = plan.narrowing(filter_.conditions)
    first = -(-filter_.start // HOUR) if filter_.start is not None else 0
    last = (filter_.end + 1) // HOUR - 1 if filter_.end is not None else MAX_MICROSECONDS // HOUR - 1
    at_least = False
    if first <= last:
        at_least |= _add_hourly(session, organization, narrowed, by, first, last, totals)
        at_least |= _add_tail(session, organization, narrowed, by, first, last, totals)
    for low, high in _edges(filter_, first, last):
        at_least |= _add_rows(session, organization, narrowed, by, low, high, totals)
    return at_least


def _edges(filter_: Filter, first: int, last: int) -> Iterable[tuple[bytes, bytes]]:
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


def _where(narrowed: list[Expression]) -> tuple[str, list[object]]:
    sql = "".join(f" AND {expression.sql}" for expression in narrowed)
    return sql, [p for expression in narrowed for p in expression.parameters]


def _add(totals: Totals, key: int | str, count: int, failures: int) -> None:
    entry = totals.setdefault(key, [0, 0])
    entry[0] += count
    entry[1] += failures


def _add_hourly(
    session: Session,
    organization: str,
    narrowed: list[Expression],
    by: CountBy,
    first: int,
    last: int,
    totals: Totals,
) -> bool:
    """The whole hours; where they are too many, the newest of them."""
    if session.state is None or session.index is None:
        return False
    (found, oldest) = session.index.execute(
        "SELECT count(*), min(hour) FROM (SELECT hour FROM affidavit_hourly"
        " WHERE organization = ? AND hour BETWEEN ? AND ? ORDER BY hour DESC LIMIT ?)",
        (organization, first, last, _HOURLY),
    ).fetchone()
    if found == _HOURLY:
        first = oldest + 1
    where, parameters = _where(narrowed)
    rows = session.index.execute(
        f"SELECT {by}, sum(n), sum(n * (outcome = 'failure')) FROM affidavit_hourly"
        f" WHERE organization = ? AND hour BETWEEN ? AND ?{where} GROUP BY {by}",
        [organization, first, last, *parameters],
    )
    for key, count, failures in rows:
        _add(totals, key, count, failures)
    return bool(found == _HOURLY)


def _add_tail(
    session: Session,
    organization: str,
    narrowed: list[Expression],
    by: CountBy,
    first: int,
    last: int,
    totals: Totals,
) -> bool:
    """What was recorded beyond the watermark: its newest part, where that is long."""
    where, parameters = _where(narrowed)
    since = max(session.watermark, session.last_seq - LONG_TAIL)
    rows = session.events.execute(
        # NOT INDEXED: with statistics the planner would skip through an index of the whole table.
        "SELECT id, action, outcome, severity FROM affidavit_events NOT INDEXED"
        f" WHERE seq > ? AND +organization = ? AND id >= ? AND id < ?{where}",
        [since, organization, first_id(first * HOUR), first_id((last + 1) * HOUR), *parameters],
    )
    _add_each(rows, by, totals)
    return bool(since > session.watermark)


def _add_rows(
    session: Session,
    organization: str,
    narrowed: list[Expression],
    by: CountBy,
    low: bytes,
    high: bytes,
    totals: Totals,
) -> bool:
    where, parameters = _where(narrowed)
    rows = session.events.execute(
        "SELECT id, action, outcome, severity FROM affidavit_events INDEXED BY affidavit_events_id"
        f" WHERE organization = ? AND id BETWEEN ? AND ?{where} ORDER BY id DESC LIMIT ?",
        [organization, low, high, *parameters, _EDGE],
    )
    return _add_each(rows, by, totals) == _EDGE


def _add_each(rows: Iterable[tuple[bytes, str, str, str]], by: CountBy, totals: Totals) -> int:
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
