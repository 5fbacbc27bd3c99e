"""What ``affidavit doctor`` asks our tables: months, the default partition, the queue's size, indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from affidavit.core.ids import microseconds_of
from affidavit.storage.health import Finding, State
from affidavit.storage.postgres.connect import Session
from affidavit.storage.postgres.health_limits import Limits

__all__ = ["TABLES"]

MOST_COUNTED = 100_000
"""Rows that are counted; where there are more, nobody needs to know how many."""
ROW_BYTES, ENTRY_BYTES = 96, 24
"""What a row of the queue and its index entry take at most, names of 32 characters among them."""

_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_STRAYED = (
    f"WITH d AS (SELECT id FROM affidavit_events_default LIMIT {MOST_COUNTED})"
    " SELECT (SELECT count(*) FROM d), (SELECT id FROM d ORDER BY id LIMIT 1),"
    " (SELECT id FROM d ORDER BY id DESC LIMIT 1)"
)
_WAITING = (
    f"SELECT (SELECT count(*) FROM (SELECT FROM affidavit_pending LIMIT {MOST_COUNTED}) w),"
    " (SELECT ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint - e.recorded_at) / 1e6"
    " FROM (SELECT organization, id FROM affidavit_pending ORDER BY seq LIMIT 1) p"
    " JOIN affidavit_events e ON e.organization = p.organization AND e.id = p.id LIMIT 1)"
)
_SIZES = (
    "SELECT pg_relation_size(format('%I.affidavit_pending', ?::text)),"
    " pg_relation_size(format('%I.affidavit_pending_seq', ?::text)),"
    " (SELECT count(*) FROM affidavit_pending)"
)
_INVALID = (
    "SELECT i.relname::text, t.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
    " JOIN pg_class t ON t.oid = x.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace"
    " WHERE n.nspname = ? AND t.relname LIKE 'affidavit\\_%' AND NOT x.indisvalid"
    " AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid)"
    " ORDER BY 2, 1"
)
_NOT_VACUUMED = (
    "SELECT string_agg(c.relname::text, ', ' ORDER BY c.relname) FROM pg_class c"
    " JOIN pg_namespace n ON n.oid = c.relnamespace"
    # One row that is written and deleted only to see whether somebody keeps it.
    " WHERE n.nspname = ? AND c.relname LIKE 'affidavit\\_%' AND c.relname <> 'affidavit_freed'"
    " AND c.reloptions && ARRAY['autovacuum_enabled=false', 'autovacuum_enabled=off', 'autovacuum_enabled=0']"
)


def _months(session: Session, limits: Limits) -> Iterator[Finding]:
    """This month and some to come are made, one after the other."""
    begun = {
        _month(microseconds_of(low))
        for (low,) in session.execute("SELECT low FROM affidavit_months").fetchall()
    }
    month = this = _month(_row(session, _NOW)[0])
    missing = []
    for _ in range(limits.months_ahead + 1):
        if month not in begun:
            missing.append(month)
        month = month[0] + month[1] // 12, month[1] % 12 + 1
    if not missing:
        yield Finding("months", State.OK, f"This month and the next {limits.months_ahead} are made")
        return
    names = ", ".join(f"{year}-{number:02}" for year, number in missing)
    yield Finding(
        "months",
        State.FAIL if this in missing else State.WARN,
        f"No partition is made for {names}; events of such a month go to the default partition",
        "A running worker makes them: affidavit serve or affidavit worker.",
    )


def _strayed(session: Session, _limits: Limits) -> Iterator[Finding]:
    """The default partition takes what has no month; it should not stay there."""
    count, low, high = _row(session, _STRAYED)
    if not count:
        yield Finding("default partition", State.OK, "The default partition is empty")
        return
    first, last = (f"{_moment(microseconds_of(each)):%Y-%m-%d}" for each in (low, high))
    yield Finding(
        "default partition",
        State.WARN,
        f"{_counted(count)} events that occurred from {first} to {last} are in the default partition,"
        " where pages find them slowly",
        "A running worker moves them into their months: affidavit serve or affidavit worker.",
    )


def _queue(session: Session, limits: Limits) -> Iterator[Finding]:
    """Events get their leaf within seconds, or nobody gives it to them."""
    count, age = _row(session, _WAITING)
    if count and (age is None or age > limits.queue_seconds):
        since = "and the oldest has lost its event" if age is None else f"the oldest since {age:.0f} s"
        yield Finding(
            "queue",
            State.WARN,
            f"{_counted(count)} events wait for their leaf, {since}",
            "affidavit serve or affidavit worker; where one runs, see: affidavit log status",
        )
    else:
        yield Finding("queue", State.OK, f"{_counted(count)} events wait for their leaf, none for long")


def _bloat(session: Session, limits: Limits) -> Iterator[Finding]:
    """The queue is as large as what waits in it, more or less."""
    schema = session.address.schema
    table, index, rows = _row(session, _SIZES, (schema, schema))
    fat = [
        f"{name} takes {size / (1 << 20):,.0f} MiB"
        for name, size, each in (
            ("affidavit_pending", table, ROW_BYTES),
            ("its index affidavit_pending_seq", index, ENTRY_BYTES),
        )
        if size > limits.bloat_bytes and size > limits.bloat_times * each * rows
    ]
    if fat:
        yield Finding(
            "queue bloat",
            State.WARN,
            f"{' and '.join(fat)} for {rows:,} rows that wait",
            "See what holds the queue back and whether autovacuum is on; then: VACUUM FULL affidavit_pending"
            " (recording waits while it runs, which is seconds)",
        )
    else:
        yield Finding("queue bloat", State.OK, f"The queue takes {(table + index) / (1 << 20):,.1f} MiB")


def _indexes(session: Session, _limits: Limits) -> Iterator[Finding]:
    """An index that was not built to its end is written and never read."""
    invalid = session.execute(_INVALID, (session.address.schema,)).fetchall()
    for index, table in invalid:
        yield Finding(
            "indexes",
            State.WARN,
            f"The index {index} of {table} was not built to its end: it is written and not read",
            f'REINDEX INDEX CONCURRENTLY "{index}"; if it ends in _ccnew: DROP INDEX CONCURRENTLY',
        )
    if not invalid:
        yield Finding("indexes", State.OK, "All indexes are valid")


def _vacuumed(session: Session, _limits: Limits) -> Iterator[Finding]:
    (tables,) = _row(session, _NOT_VACUUMED, (session.address.schema,))
    if tables:
        yield Finding(
            "autovacuum",
            State.WARN,
            f"autovacuum is off for {tables}",
            "ALTER TABLE ... RESET (autovacuum_enabled)",
        )


def _row(session: Session, statement: str, parameters: tuple[str, ...] = ()) -> tuple:  # type: ignore[type-arg]
    row = session.execute(statement, parameters).fetchone()
    assert row is not None
    return row


def _counted(count: int) -> str:
    return f"{count:,}" if count < MOST_COUNTED else f"{MOST_COUNTED:,} or more"


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def _month(microseconds: int) -> tuple[int, int]:
    moment = _moment(microseconds)
    return moment.year, moment.month


TABLES: tuple[Callable[[Session, Limits], Iterator[Finding]], ...] = (
    _months,
    _strayed,
    _queue,
    _bloat,
    _indexes,
    _vacuumed,
)
"""In the order in which their findings are shown."""
