"""The ``EventStore`` of PostgreSQL. The place of an event in recording order is that of its leaf."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from affidavit import errors
from affidavit.core.row import COLUMNS, Recorded, Row, StoredEvent
from affidavit.storage.postgres.connect import translated, uid
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.log_queue import EVENT
from affidavit.storage.postgres.writer import insert_rows
from affidavit.storage.protocols import UNPLACED, RawRow

__all__ = ["UNKNOWN", "PostgresEvents"]

ATTEMPTS = 5
"""How often a batch is sent that the database broke a deadlock with; nothing of it was stored then."""
UNKNOWN = (
    "The connection to the database {} broke while it stored this ({}); whether it is stored is unknown."
    " Send it again: events with an idempotency_key are stored once."
)
"""What a caller is told whose commit was not answered."""

_COLUMNS = ", ".join(f"e.{name}" for name in COLUMNS)
_FETCH = (
    "SELECT (SELECT l.seq FROM affidavit_trees t JOIN affidavit_leaves l ON l.tree = t.tree AND l.id = e.id"
    f" WHERE t.organization = e.organization ORDER BY t.incarnation DESC LIMIT 1), {_COLUMNS}"
    " FROM unnest(?::uuid[]) AS asked (id),"
    " LATERAL (SELECT * FROM affidavit_events WHERE organization = ? AND id = asked.id LIMIT 1) AS e"
    " ORDER BY e.id DESC"
)
# An event that was put back under its id has a leaf in two incarnations of its tree: the newest counts.
_PLACED = (
    "FROM (SELECT l.seq, l.id, t.organization"
    " FROM affidavit_leaves l JOIN affidavit_trees t ON t.tree = l.tree WHERE {}"
    " AND NOT EXISTS (SELECT FROM affidavit_trees n JOIN affidavit_leaves m ON m.tree = n.tree"
    " AND m.id = l.id WHERE n.organization = t.organization AND n.incarnation > t.incarnation)"
    " ORDER BY l.seq {}) AS p, LATERAL (SELECT * FROM affidavit_events"
    " WHERE organization = p.organization AND id = p.id LIMIT 1) AS e ORDER BY p.seq"
)
_AFTER = f"SELECT p.seq, {_COLUMNS} {_PLACED.format('l.seq > ?', 'LIMIT ?')}"
_ROWS = f"SELECT p.seq, {EVENT} {_PLACED.format('l.seq = ANY(?::bigint[])', '')}"
_QUEUED = (
    f"SELECT p.seq, {EVENT}"
    " FROM (SELECT * FROM affidavit_pending WHERE seq > ? ORDER BY seq LIMIT 1000) AS p,"
    " LATERAL (SELECT * FROM affidavit_events WHERE organization = p.organization AND id = p.id LIMIT 1) AS e"
    " ORDER BY p.seq"
)
_PLACE_OF = (
    "SELECT CASE WHEN NOT EXISTS (SELECT FROM affidavit_pending WHERE seq <= ?) THEN seq END"
    " FROM affidavit_position"
)
_ORGANIZATIONS = (
    "WITH RECURSIVE names (name) AS ("
    "(SELECT organization FROM affidavit_events ORDER BY organization LIMIT 1) UNION ALL"
    " SELECT (SELECT organization FROM affidavit_events WHERE organization > name"
    " ORDER BY organization LIMIT 1) FROM names WHERE name IS NOT NULL)"
    " SELECT name FROM names WHERE name IS NOT NULL"
)


class PostgresEvents:
    """Reads and appends; see :class:`affidavit.storage.protocols.EventStore`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def insert(self, rows: Sequence[Row]) -> list[Recorded]:
        """Store one batch durably.

        Raises:
            StorageError: nothing was stored, unless the message says that this is unknown.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._insert(rows)
            except errors.StorageBusy as error:
                # Another batch has the same events in another order; one of the two had to give way.
                if attempt == ATTEMPTS or not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                    raise
        raise AssertionError("unreachable")

    def _insert(self, rows: Sequence[Row]) -> list[Recorded]:
        clock = self._database.clock
        sent = False
        address = self._database.address
        with self._database.pool.session() as session, translated(address):
            try:
                with session.transaction():
                    recorded = insert_rows(session, rows, clock() if clock is not None else None)
                    sent = True
            except psycopg.OperationalError as error:
                if sent and session.broken:
                    raise errors.StorageError(UNKNOWN.format(address.shown, error)) from error
                raise
        return recorded

    def fetch(self, organization: str, ids: Sequence[bytes]) -> list[StoredEvent]:
        """The events with these ids, newest first."""
        rows = self._all(_FETCH, ([uid(event_id) for event_id in ids], organization)) if ids else []
        return [StoredEvent(UNPLACED if row[0] is None else row[0], row[1:]) for row in rows]

    def after(self, seq: int, limit: int) -> list[StoredEvent]:
        """Events in recording order beyond a place."""
        return [StoredEvent(row[0], row[1:]) for row in self._all(_AFTER, (seq, limit))]

    def rows(self, seqs: Sequence[int]) -> list[RawRow]:
        """The rows at these places, as they stand."""
        rows = self._all(_ROWS, (list(seqs),)) if seqs else []
        return [RawRow(row[0], row[1:]) for row in rows]

    def last_seq(self) -> int:
        """The place given last."""
        return int(self._one("SELECT seq FROM affidavit_position"))

    def mark(self) -> int:
        """The greatest number in the queue: what is committed has its place, or waits up to there."""
        return int(self._one("SELECT coalesce(max(seq), 0) FROM affidavit_pending"))

    def place_of(self, mark: int) -> int | None:
        """The last place, once nothing with a number up to the mark waits."""
        place = self._one(_PLACE_OF, (mark,))
        return None if place is None else int(place)

    def queued(self) -> Iterator[RawRow]:
        """The rows that wait for their leaf, as they stand, in the order of the queue."""
        seq = 0
        while rows := self._all(_QUEUED, (seq,)):
            seq = rows[-1][0]
            yield from (RawRow(UNPLACED, row[1:]) for row in rows)

    def organizations(self) -> list[str]:
        """Every organization that has an event."""
        return [name for (name,) in self._all(_ORGANIZATIONS)]

    def _all(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._database.pool.session() as session:
            return session.execute(statement, parameters).fetchall()

    def _one(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        (row,) = self._all(statement, parameters)
        return row[0]
