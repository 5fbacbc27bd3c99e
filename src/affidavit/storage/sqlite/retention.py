"""The roles of retention on SQLite that look at events: what is past, closed ranges of ids."""

from __future__ import annotations

from typing import Any

from affidavit.core.row import COLUMNS, StoredEvent
from affidavit.storage.retention import PrunedRange
from affidavit.storage.sql.database import Connection, Database
from affidavit.storage.sql.ranges import SqlRanges, actions_of

__all__ = ["SqlitePast", "SqliteRanges"]

_SELECT = f"SELECT seq, {', '.join(COLUMNS)} FROM affidavit_events"


class _Store:
    def __init__(self, database: Database) -> None:
        self._database = database

    def _all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(statement, values).fetchall())


class SqlitePast(_Store):
    """:class:`~affidavit.storage.retention.PastStore` on SQLite."""

    def actions(self, organization: str) -> list[str]:
        """See the role."""
        return self._database.read(lambda connection: actions_of(connection, organization))

    def page(
        self, organization: str, action: str, after: bytes, until: bytes, limit: int
    ) -> list[StoredEvent]:
        """See the role."""
        rows = self._all(
            f"{_SELECT} WHERE organization = ? AND action = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?",
            organization,
            action,
            after,
            until,
            limit,
        )
        return [StoredEvent(row[0], row[1:]) for row in rows]

    def within(self, organization: str, after: bytes, until: bytes, limit: int) -> list[StoredEvent]:
        """See the role."""
        rows = self._all(
            f"{_SELECT} INDEXED BY affidavit_events_id WHERE organization = ? AND id > ? AND id <= ?"
            " ORDER BY id LIMIT ?",
            organization,
            after,
            until,
            limit,
        )
        return [StoredEvent(row[0], row[1:]) for row in rows]


class SqliteRanges(SqlRanges):
    """:class:`~affidavit.storage.retention.RangeStore` on SQLite."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, bytes)

    def _close(self, connection: Connection, closed: PrunedRange) -> int:
        (standing,) = connection.execute(
            "SELECT count(*) FROM affidavit_events WHERE organization = ? AND id BETWEEN ? AND ?",
            closed[:3],
        ).fetchone()
        connection.execute("INSERT INTO affidavit_pruned VALUES (?, ?, ?, ?)", closed)
        return int(standing)
