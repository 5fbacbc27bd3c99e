"""The ``EventIndex`` of PostgreSQL: pages over organizations, counts, and where the index stands."""

from __future__ import annotations

import time

from affidavit.core.credentials import ALL, Organizations
from affidavit.core.cursor import Position
from affidavit.core.filter import Filter
from affidavit.core.ids import microseconds_of
from affidavit.storage.postgres.counting import PostgresCounted
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.places import ascending, oldest_beyond
from affidavit.storage.postgres.plan import POSTGRES
from affidavit.storage.postgres.search import Walk, organizations_of
from affidavit.storage.postgres.snapshot import Snapshot, Snapshots, within
from affidavit.storage.protocols import Count, CountBy, Counts, Found, Progress
from affidavit.storage.sql.conditions import BEYOND
from affidavit.storage.sql.counts import Totals, add_counts
from affidavit.storage.sql.merging import merged

__all__ = ["PostgresIndex"]


class PostgresIndex:
    """Answers from the index's tables for what they cover and from the event table for the tail.

    Args:
        database: whose schema is current.
    """

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._snapshots = Snapshots(database.pool)

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

        with self._snapshots.open() as snapshot:
            if start.order == "asc":
                return ascending(snapshot, organizations, filter_, start, limit, stop, as_of)
            below = start.last or BEYOND
            walks = [Walk(snapshot, name, filter_, below, as_of) for name in _names(snapshot, organizations)]
            return merged(walks, limit, stop, start, _recorded_at(snapshot))

    def counts(self, organizations: Organizations, filter_: Filter, by: CountBy) -> Counts:
        """See :meth:`affidavit.storage.protocols.EventIndex.counts`."""
        totals: Totals = {}
        at_least = False
        with self._snapshots.open() as snapshot:
            for name in _names(snapshot, organizations):
                at_least |= add_counts(PostgresCounted(snapshot, name), POSTGRES, filter_, by, totals)
            rows = [Count(key, count, failures) for key, (count, failures) in totals.items()]
            return Counts(rows, at_least, _recorded_at(snapshot))

    def span(self, organizations: Organizations) -> tuple[int, int] | None:
        """See :meth:`affidavit.storage.protocols.EventIndex.span`."""
        with self._snapshots.open() as snapshot:
            found = [id_ for name in _names(snapshot, organizations) for id_ in _ends(snapshot, name)]
        times = [microseconds_of(id_) for id_ in found]
        return (min(times), max(times)) if times else None

    def as_of(self) -> int:
        """See :meth:`affidavit.storage.protocols.EventIndex.as_of`."""
        if self._database.clock is not None:
            return self._database.clock()
        with self._database.pool.session() as session:
            row = session.execute(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
            ).fetchone()
        return int(row[0]) if row is not None else 0

    def progress(self) -> Progress:
        """See :meth:`affidavit.storage.protocols.EventIndex.progress`."""
        with self._snapshots.open() as snapshot:
            return Progress(
                snapshot.watermark,
                _recorded_at(snapshot),
                snapshot.last_seq - snapshot.watermark,
                oldest_beyond(snapshot.session, snapshot.watermark),
            )


def _recorded_at(snapshot: Snapshot) -> int | None:
    return snapshot.state.recorded_at if snapshot.state is not None else None


def _names(snapshot: Snapshot, organizations: Organizations) -> list[str]:
    return organizations_of(snapshot) if organizations is ALL else sorted(organizations)


def _ends(snapshot: Snapshot, organization: str) -> list[bytes]:
    """The ids of the newest and the oldest event, part by part."""
    found: list[bytes] = []
    parts = list(snapshot.parts(b"", BEYOND))
    for way, some in (("DESC", parts), ("ASC", parts[::-1])):
        for part in some:
            row = snapshot.execute(
                f"SELECT id FROM affidavit_events WHERE organization = ? AND {within(part)}"
                f" ORDER BY id {way} LIMIT 1",
                (organization,),
            ).fetchone()
            if row is not None:
                found.append(row[0])
                break
    return found
