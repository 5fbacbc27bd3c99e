"""Retention policies and legal holds in SQL.

Whether what an event quotes still stands, and what a policy becomes, is read and then written: these changes
of an organization are made one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from affidavit.core.row import Row
from affidavit.storage.retention import Hold, PolicyChange, Rules
from affidavit.storage.sql.database import Connection, Database

__all__ = ["SqlHolds", "SqlPolicies"]

_HOLD = "id, organization, name, reason, class, created_at, created_by, released_at"


class _Store:
    def __init__(self, database: Database) -> None:
        self._database = database

    def _all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(statement, values).fetchall())


def _one_after_the_other(organization: str) -> str:
    return f"retention {organization}"


def _rules(connection: Connection, organization: str) -> dict[str, int | None]:
    return dict(
        connection.execute(
            "SELECT class, days FROM affidavit_policies WHERE organization = ? ORDER BY class",
            (organization,),
        ).fetchall()
    )


class SqlPolicies(_Store):
    """:class:`~affidavit.storage.retention.PolicyStore` in SQL."""

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

        def replace(connection: Connection) -> PolicyChange:
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
            replace,
            lambda change: rows(change) if change.after != change.before else (),
            alone=_one_after_the_other(organization),
        )

    def confirm(self, organization: str, rules: Rules, held: Sequence[str], rows: Sequence[Row]) -> bool:
        """See the role."""

        def same(connection: Connection) -> bool:
            classes = connection.execute(
                "SELECT DISTINCT class FROM affidavit_holds WHERE organization = ? AND released_at IS NULL"
                " ORDER BY class",
                (organization,),
            ).fetchall()
            return _rules(connection, organization) == rules and [name for (name,) in classes] == list(held)

        return self._database.change(
            same, lambda answer: rows if answer else (), alone=_one_after_the_other(organization)
        )


class SqlHolds(_Store):
    """:class:`~affidavit.storage.retention.HoldStore` in SQL."""

    def add(self, hold: Hold, rows: Sequence[Row]) -> None:
        """See the role."""
        self._database.change(
            lambda connection: connection.execute(
                f"INSERT INTO affidavit_holds ({_HOLD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", hold
            ),
            lambda _: rows,
            alone=_one_after_the_other(hold.organization),
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
            alone=_one_after_the_other(organization),
        )
