"""The roles of retention on PostgreSQL that look at events: what is past, closed ranges of ids."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from affidavit.core.row import COLUMNS, Recorded, Row, StoredEvent
from affidavit.errors import StorageBusy
from affidavit.storage.postgres.connect import uid
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.protocols import UNPLACED
from affidavit.storage.retention import PrunedRange
from affidavit.storage.sql.database import Connection
from affidavit.storage.sql.ranges import SqlRanges, actions_of

__all__ = ["PostgresPast", "PostgresRanges"]

TRIES = 5
"""How often closing a range asks for its locks, 200 ms each time; then the task comes again later."""
PAUSE_SECONDS = 0.2
"""Between two tries: whoever waited behind one records meanwhile."""

_COLUMNS = ", ".join(COLUMNS)
_PLACE = (
    "SELECT l.seq FROM affidavit_trees t JOIN affidavit_leaves l USING (tree)"
    " WHERE t.organization = e.organization AND l.id = e.id ORDER BY t.incarnation DESC LIMIT 1"
)
_SELECT = (
    f"SELECT coalesce(({_PLACE}), {UNPLACED}), e.*"
    f" FROM (SELECT {_COLUMNS} FROM affidavit_events WHERE {{}} ORDER BY id LIMIT ?) e ORDER BY e.id"
)

T = TypeVar("T")


_FIRST = bytes(16)
"""Below every id: where a walk begins."""


class PostgresPast:
    """:class:`~affidavit.storage.retention.PastStore` on PostgreSQL.

    Args:
        database: opened.
    """

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def actions(self, organization: str) -> list[str]:
        """See the role."""
        return self._database.read(lambda session: actions_of(session, organization))

    def page(
        self, organization: str, action: str, after: bytes, until: bytes, limit: int
    ) -> list[StoredEvent]:
        """See the role."""
        where = "organization = ? AND action = ? AND id > ? AND id <= ?"
        return self._all(where, organization, action, uid(after or _FIRST), uid(until), limit)

    def within(self, organization: str, after: bytes, until: bytes, limit: int) -> list[StoredEvent]:
        """See the role."""
        where = "organization = ? AND id > ? AND id <= ?"
        return self._all(where, organization, uid(after or _FIRST), uid(until), limit)

    def _all(self, where: str, *values: Any) -> list[StoredEvent]:
        rows = self._database.read(lambda session: session.execute(_SELECT.format(where), values).fetchall())
        return [StoredEvent(row[0], row[1:]) for row in rows]


class PostgresRanges(SqlRanges):
    """:class:`~affidavit.storage.retention.RangeStore` on PostgreSQL.

    Args:
        database: opened.
    """

    def __init__(self, database: PostgresDatabase) -> None:
        super().__init__(database, uid)

    def close(self, closed: PrunedRange, standing: int, rows: Sequence[Row]) -> list[Recorded]:
        """See the role."""
        return _again(lambda: super(PostgresRanges, self).close(closed, standing, rows))

    def _close(self, connection: Connection, closed: PrunedRange) -> int:
        (standing,) = connection.execute(
            "SELECT affidavit_range_close(?, ?, ?, ?)",
            (closed.organization, uid(closed.from_id), uid(closed.to_id), closed.manifest),
        ).fetchone()
        return int(standing)


def _again(work: Callable[[], T]) -> T:
    """Do something that asks for locks, until it gets them or has asked :data:`TRIES` times."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except StorageBusy:
            time.sleep(PAUSE_SECONDS)
    return work()
