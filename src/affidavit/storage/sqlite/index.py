"""The ``EventIndex`` of SQLite: pages over organizations, counts, and where the index stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from affidavit.core.credentials import ALL, Organizations
from affidavit.core.cursor import Position
from affidavit.core.filter import Filter
from affidavit.core.ids import microseconds_of
from affidavit.core.match import matches
from affidavit.core.row import StoredEvent
from affidavit.errors import SchemaMissing, StorageBusy, StorageError
from affidavit.storage.protocols import Count, CountBy, Counts, Found, Progress
from affidavit.storage.sql.conditions import BEYOND, Expression, id_range
from affidavit.storage.sql.counts import Totals, add_counts
from affidavit.storage.sql.merging import merged
from affidavit.storage.sqlite.counting import SqliteCounted
from affidavit.storage.sqlite.index_file import oldest_beyond
from affidavit.storage.sqlite.plan import SQLITE
from affidavit.storage.sqlite.readers import Readers, Session, despite_bad_text
from affidavit.storage.sqlite.search import SELECT, Walk

__all__ = ["SqliteIndex", "organizations_of"]

T = TypeVar("T")

_FIRST_SEQS, _MOST_SEQS = 1_024, 65_536
_SLOW_WINDOW = 0.010


class SqliteIndex:
    """Answers from the index file for what it covers and from the event table for the tail."""

    def __init__(self, readers: Readers, index: Path) -> None:
        self._readers = readers
        self._path = index

    @despite_bad_text
    def page(
        self,
        organizations: Organizations,
        filter_: Filter,
        start: Position,
        *,
        limit: int,
        seconds: float | None,
        as_of: int | None = None,
    ) -> Found:
        """See :meth:`affidavit.storage.protocols.EventIndex.page`."""
        until = None if seconds is None else time.perf_counter() + seconds

        def stop() -> bool:
            return until is not None and time.perf_counter() >= until

        def work(session: Session) -> Found:
            watermark = _recorded_at(session)
            if start.order == "asc":
                return _ascending(session, organizations, filter_, start, limit, stop, watermark, as_of)
            names = organizations_of(session, organizations)
            below = start.last or BEYOND
            walks = [Walk(session, name, filter_, below, as_of) for name in names]
            return merged(walks, limit, stop, start, watermark)

        return self._answer(work)

    @despite_bad_text
    def counts(self, organizations: Organizations, filter_: Filter, by: CountBy) -> Counts:
        """See :meth:`affidavit.storage.protocols.EventIndex.counts`."""

        def work(session: Session) -> Counts:
            totals: Totals = {}
            at_least = False
            for name in organizations_of(session, organizations):
                at_least |= add_counts(SqliteCounted(session, name), SQLITE, filter_, by, totals)
            rows = [Count(key, count, failures) for key, (count, failures) in totals.items()]
            return Counts(rows, at_least, _recorded_at(session))

        return self._answer(work)

    @despite_bad_text
    def span(self, organizations: Organizations) -> tuple[int, int] | None:
        """See :meth:`affidavit.storage.protocols.EventIndex.span`."""
        with self._readers.session() as session:
            found = [
                session.events.execute(
                    f"SELECT {bound}(id) FROM affidavit_events INDEXED BY affidavit_events_id"
                    " WHERE organization = ?",
                    (name,),
                ).fetchone()[0]
                for name in organizations_of(session, organizations)
                for bound in ("min", "max")
            ]
        times = [microseconds_of(id_) for id_ in found if id_ is not None]
        return (min(times), max(times)) if times else None

    def as_of(self) -> int:
        """The place of the newest event."""
        with self._readers.session() as session:
            return session.last_seq

    def progress(self) -> Progress:
        """See :meth:`affidavit.storage.protocols.EventIndex.progress`."""
        with self._readers.session() as session:
            since = oldest_beyond(session.events, session.watermark)
            return Progress(session.watermark, _recorded_at(session), session.tail, since)

    def _answer(self, work: Callable[[Session], T]) -> T:
        """Read with the index, and once more without it where it breaks under the reader."""
        try:
            with self._readers.session() as session:
                return work(session)
        except (StorageBusy, SchemaMissing):
            raise
        except StorageError:
            with self._readers.session(index=False) as session:
                return work(session)


def _recorded_at(session: Session) -> int | None:
    return session.state.recorded_at if session.state is not None else None


def organizations_of(session: Session, organizations: Organizations) -> list[str]:
    """The organizations asked for; all of them by a loose scan of the unique index."""
    if organizations is not ALL:
        return sorted(organizations)
    names: list[str] = []
    after = ""
    while row := session.events.execute(
        "SELECT organization FROM affidavit_events INDEXED BY affidavit_events_id"
        " WHERE organization > ? ORDER BY organization LIMIT 1",
        (after,),
    ).fetchone():
        after = row[0]
        names.append(after)
    return names


def _ascending(
    session: Session,
    organizations: Organizations,
    filter_: Filter,
    start: Position,
    limit: int,
    stop: Callable[[], bool],
    watermark: int | None,
    as_of: int | None,
) -> Found:
    """Recording order: windows of places, narrowed by SQL. The position stays valid at the end."""
    last = session.last_seq if as_of is None else min(as_of, session.last_seq)
    narrowed = SQLITE.narrowing(filter_.conditions)
    if organizations is not ALL:
        marks = ",".join("?" * len(organizations))
        narrowed.append(Expression(f"+organization IN ({marks})", tuple(sorted(organizations))))
    low, high = id_range(filter_)
    narrowed.append(Expression("id >= ? AND id < ?", (low, high)))
    where = " AND ".join(expression.sql for expression in narrowed)
    parameters = [p for expression in narrowed for p in expression.parameters]
    found: list[StoredEvent] = []
    place, window = start.seq, _FIRST_SEQS
    while place < last and len(found) < limit and not (found and stop()):
        begun = time.perf_counter()
        upper = min(last, place + window)
        rows = session.events.execute(
            # NOT INDEXED: with statistics the planner would skip through an index and sort.
            f"{SELECT} NOT INDEXED WHERE seq > ? AND seq <= ? AND {where} ORDER BY seq LIMIT ?",
            [place, upper, *parameters, limit - len(found)],
        ).fetchall()
        events = [StoredEvent(row[0], row[1:]) for row in rows]
        place = rows[-1][0] if len(rows) == limit - len(found) else upper
        found += [event for event in events if matches(filter_, event)]
        if time.perf_counter() - begun < _SLOW_WINDOW:
            window = min(_MOST_SEQS, window * 2)
        if stop():
            break
    if as_of is not None and place >= last:
        return Found(found, None, watermark)
    return Found(found, Position("asc", b"", place, watermark or start.watermark), watermark)
