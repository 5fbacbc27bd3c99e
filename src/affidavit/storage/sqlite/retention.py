"""The roles of retention on SQLite: policies, legal holds, what is past, closed ranges of ids."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from affidavit.core.ids import format_id
from affidavit.core.row import COLUMNS, Recorded, Row, StoredEvent
from affidavit.errors import FieldError, Refused
from affidavit.storage.retention import Hold, PolicyChange, PrunedRange, Rules
from affidavit.storage.sqlite.settings import Database

__all__ = ["SqliteHolds", "SqlitePast", "SqlitePolicies", "SqliteRanges"]

SECONDS = 0.008
"""How long a transaction that deletes goes on; its commit comes on top."""
_SELECT = f"SELECT seq, {', '.join(COLUMNS)} FROM affidavit_events"
_HOLD = "id, organization, name, reason, class, created_at, created_by, released_at"


class _Store:
    def __init__(self, database: Database) -> None:
        self._database = database

    def _all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(statement, values).fetchall())


def _rules(connection: sqlite3.Connection, organization: str) -> dict[str, int | None]:
    return dict(
        connection.execute(
            "SELECT class, days FROM affidavit_policies WHERE organization = ? ORDER BY class",
            (organization,),
        ).fetchall()
    )


class SqlitePolicies(_Store):
    """:class:`~affidavit.storage.retention.PolicyStore` on SQLite."""

    def rules(self, organization: str) -> Rules:
        """See the role."""
        return self._database.read(lambda connection: _rules(connection, organization))

    def organizations(self) -> list[str]:
        """See the role."""
        return [
            name for (name,) in self._all("SELECT DISTINCT organization FROM affidavit_policies ORDER BY 1")
        ]

    def change(
        self, organization: str, work: Callable[[Rules], Rules], rows: Callable[[PolicyChange], Sequence[Row]]
    ) -> PolicyChange:
        """See the role."""

        def replace(connection: sqlite3.Connection) -> PolicyChange:
            before = _rules(connection, organization)
            after = dict(sorted(work(before).items()))
            if after != before:
                connection.execute("DELETE FROM affidavit_policies WHERE organization = ?", (organization,))
                connection.executemany(
                    "INSERT INTO affidavit_policies VALUES (?, ?, ?)",
                    [(organization, name, days) for name, days in after.items()],
                )
            return PolicyChange(before, after)

        return self._database.change(
            replace, lambda change: rows(change) if change.after != change.before else ()
        )

    def confirm(self, organization: str, rules: Rules, held: Sequence[str], rows: Sequence[Row]) -> bool:
        """See the role."""

        def same(connection: sqlite3.Connection) -> bool:
            classes = connection.execute(
                "SELECT DISTINCT class FROM affidavit_holds WHERE organization = ? AND released_at IS NULL"
                " ORDER BY class",
                (organization,),
            ).fetchall()
            return _rules(connection, organization) == rules and [name for (name,) in classes] == list(held)

        return self._database.change(same, lambda answer: rows if answer else ())


class SqliteHolds(_Store):
    """:class:`~affidavit.storage.retention.HoldStore` on SQLite."""

    def add(self, hold: Hold, rows: Sequence[Row]) -> None:
        """See the role."""
        self._database.change(
            lambda connection: connection.execute(
                f"INSERT INTO affidavit_holds ({_HOLD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", hold
            ),
            lambda _: rows,
        )

    def holds(self, organization: str) -> list[Hold]:
        """See the role."""
        statement = f"SELECT {_HOLD} FROM affidavit_holds WHERE organization = ? ORDER BY created_at, id"
        return [Hold(*row) for row in self._all(statement, organization)]

    def get(self, organization: str, hold_id: str) -> Hold | None:
        """See the role."""
        rows = self._all(
            f"SELECT {_HOLD} FROM affidavit_holds WHERE organization = ? AND id = ?", organization, hold_id
        )
        return Hold(*rows[0]) if rows else None

    def release(self, organization: str, hold_id: str, now: int, rows: Sequence[Row]) -> bool:
        """See the role."""
        statement = (
            "UPDATE affidavit_holds SET released_at = ?"
            " WHERE organization = ? AND id = ? AND released_at IS NULL"
        )
        return self._database.change(
            lambda connection: connection.execute(statement, (now, organization, hold_id)).rowcount == 1,
            lambda ended: rows if ended else (),
        )


class SqlitePast(_Store):
    """:class:`~affidavit.storage.retention.PastStore` on SQLite."""

    def actions(self, organization: str) -> list[str]:
        """See the role."""

        def jump(connection: sqlite3.Connection) -> list[str]:
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

        def work(connection: sqlite3.Connection) -> None:
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


def _delete(connection: sqlite3.Connection, closed: PrunedRange, waiting: deque[bytes]) -> int:
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


def _check_free(connection: sqlite3.Connection, closed: PrunedRange) -> None:
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
