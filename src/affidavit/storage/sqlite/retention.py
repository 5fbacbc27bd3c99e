"""The roles of retention on SQLite that look at events: what is past, closed ranges of ids."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from affidavit.core.ids import format_id
from affidavit.core.row import COLUMNS, Recorded, Row, StoredEvent
from affidavit.errors import FieldError, Refused
from affidavit.storage.retention import PrunedRange
from affidavit.storage.sql.database import Connection, Database

__all__ = ["SqlitePast", "SqliteRanges"]

SECONDS = 0.008
"""How long a transaction that deletes goes on; its commit comes on top."""
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

        def jump(connection: Connection) -> list[str]:
            found: list[str] = []
            action = ""
            while True:
                (action,) = connection.execute(
                    "SELECT min(action) FROM affidavit_events WHERE organization = ? AND action > ?",
                    (organization, action),
                ).fetchone()
                if action is None:
                    return found
                found.append(action)

        return self._database.read(jump)

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


class SqliteRanges(_Store):
    """:class:`~affidavit.storage.retention.RangeStore` on SQLite."""

    def ranges(self, organization: str) -> list[PrunedRange]:
        """See the role."""
        return [
            PrunedRange(*row)
            for row in self._all(
                "SELECT organization, from_id, to_id, manifest FROM affidavit_pruned"
                " WHERE organization = ? ORDER BY from_id",
                organization,
            )
        ]

    def close(self, closed: PrunedRange, standing: int, rows: Sequence[Row]) -> list[Recorded]:
        """See the role."""

        def work(connection: Connection) -> None:
            _check_free(connection, closed)
            (found,) = connection.execute(
                "SELECT count(*) FROM affidavit_events WHERE organization = ? AND id BETWEEN ? AND ?",
                closed[:3],
            ).fetchone()
            if found != standing:
                raise Refused(
                    f"The range has {found:,} events now, not {standing:,}: some were recorded meanwhile."
                    " Nothing was pruned; try again."
                )
            connection.execute("INSERT INTO affidavit_pruned VALUES (?, ?, ?, ?)", closed)

        self._database.change(work, lambda _: rows)
        return [Recorded(row.id, False) for row in rows]

    def delete(self, closed: PrunedRange, ids: Sequence[bytes]) -> int:
        """See the role."""
        waiting = deque(ids)
        deleted = 0
        while waiting:
            deleted += self._database.change(
                lambda connection: _delete(connection, closed, waiting), _no_rows
            )
        return deleted


def _no_rows(_answer: object) -> Sequence[Row]:
    return ()


def _delete(connection: Connection, closed: PrunedRange, waiting: deque[bytes]) -> int:
    """Delete rows until the time of one transaction is over; those that are done leave ``waiting``."""
    permit = (closed.organization, closed.manifest.hex())
    connection.execute(
        "INSERT INTO affidavit_permit VALUES (?, 'prune', ?, ?, ?)", (*permit, closed.from_id, closed.to_id)
    )
    until = time.monotonic() + SECONDS
    deleted = 0
    while waiting and time.monotonic() < until:
        deleted += connection.execute(
            "DELETE FROM affidavit_events WHERE organization = ? AND id = ?",
            (closed.organization, waiting.popleft()),
        ).rowcount
    connection.execute("DELETE FROM affidavit_permit WHERE organization = ? AND reference = ?", permit)
    return deleted


def _check_free(connection: Connection, closed: PrunedRange) -> None:
    other = connection.execute(
        "SELECT from_id, to_id FROM affidavit_pruned"
        " WHERE organization = ? AND from_id <= ? AND to_id >= ? LIMIT 1",
        (closed.organization, closed.to_id, closed.from_id),
    ).fetchone()
    if other is not None:
        names = f"{format_id(other[0])} to {format_id(other[1])}"
        raise Refused(
            f"The range overlaps one that is pruned already: {names}.",
            (FieldError("ids", "pruned_already", f"overlaps the pruned range {names}"),),
        )
