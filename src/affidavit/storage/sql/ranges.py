"""Closed ranges of ids and what stood in them: what engines have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from affidavit.core.ids import format_id
from affidavit.core.row import Recorded, Row
from affidavit.errors import FieldError, Refused
from affidavit.storage.retention import PrunedRange
from affidavit.storage.sql.database import Connection, Database

__all__ = ["SqlRanges", "actions_of"]

SECONDS = 0.008
"""How long a transaction that deletes goes on; its commit comes on top."""


def actions_of(connection: Connection, organization: str) -> list[str]:
    """Every action that an organization has an event of, sorted; from one to the next by their index."""
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


class SqlRanges(ABC):
    """:class:`~affidavit.storage.retention.RangeStore` over SQL.

    Args:
        database: opened.
        as_id: an id as a parameter of this engine.
    """

    def __init__(self, database: Database, as_id: Callable[[bytes], Any]) -> None:
        self._database = database
        self._as_id = as_id

    @abstractmethod
    def _close(self, connection: Connection, closed: PrunedRange) -> int:
        """Store a range from whose end of transaction on nothing is recorded in it; the events in it."""

    def ranges(self, organization: str) -> list[PrunedRange]:
        """See the role."""
        statement = (
            "SELECT organization, from_id, to_id, manifest FROM affidavit_pruned"
            " WHERE organization = ? ORDER BY from_id"
        )
        rows = self._database.read(
            lambda connection: connection.execute(statement, (organization,)).fetchall()
        )
        return [PrunedRange(*row) for row in rows]

    def close(self, closed: PrunedRange, standing: int, rows: Sequence[Row]) -> list[Recorded]:
        """See the role."""

        def work(connection: Connection) -> None:
            self._check_free(connection, closed)
            found = self._close(connection, closed)
            if found != standing:
                raise Refused(
                    f"The range has {found:,} events now, not {standing:,}: some were recorded meanwhile."
                    " Nothing was pruned; try again."
                )

        self._database.change(work, lambda _: rows, alone="closed ranges")
        return [Recorded(row.id, False) for row in rows]

    def delete(self, closed: PrunedRange, ids: Sequence[bytes]) -> int:
        """See the role."""
        waiting = deque(ids)
        deleted = 0
        while waiting:
            deleted += self._database.change(
                lambda connection: self._delete(connection, closed, waiting), lambda _: ()
            )
        return deleted

    def _delete(self, connection: Connection, closed: PrunedRange, waiting: deque[bytes]) -> int:
        """Delete rows until the time of one transaction is over; those that are done leave ``waiting``."""
        permit = (closed.organization, closed.manifest.hex())
        connection.execute(
            "INSERT INTO affidavit_permit VALUES (?, 'prune', ?, ?, ?)",
            (*permit, self._as_id(closed.from_id), self._as_id(closed.to_id)),
        )
        until = time.monotonic() + SECONDS
        deleted = 0
        while waiting and time.monotonic() < until:
            deleted += connection.execute(
                "DELETE FROM affidavit_events WHERE organization = ? AND id = ?",
                (closed.organization, self._as_id(waiting.popleft())),
            ).rowcount
        connection.execute("DELETE FROM affidavit_permit WHERE organization = ? AND reference = ?", permit)
        return deleted

    def _check_free(self, connection: Connection, closed: PrunedRange) -> None:
        other = connection.execute(
            "SELECT from_id, to_id FROM affidavit_pruned"
            " WHERE organization = ? AND from_id <= ? AND to_id >= ? LIMIT 1",
            (closed.organization, self._as_id(closed.to_id), self._as_id(closed.from_id)),
        ).fetchone()
        if other is not None:
            names = f"{format_id(other[0])} to {format_id(other[1])}"
            raise Refused(
                f"The range overlaps one that is pruned already: {names}.",
                (FieldError("ids", "pruned_already", f"overlaps the pruned range {names}"),),
            )
