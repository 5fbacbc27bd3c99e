"""Takes events of a test out of its database again, where the append-only triggers are absent.

A database that has them is none for tests: there the events stay, and nothing is even tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from affidavit.core.statement import Statement, Steps

__all__ = ["SQLITE_OPEN", "forgetting", "found_by"]

_PIECE = 500
SQLITE_OPEN = (
    "SELECT (SELECT count(*) FROM sqlite_schema WHERE name = 'affidavit_events') = 1"
    " AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'affidavit_events_delete')"
)
"""Whether events may be deleted."""
_POSTGRES_OPEN = (
    "SELECT has_table_privilege(c.oid, 'DELETE') AND NOT EXISTS"
    " (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'affidavit_events_keep')"
    " FROM pg_class c WHERE c.oid = to_regclass(?)"
)


def forgetting(ids: Sequence[bytes], dialect: str, schema: str) -> Steps:
    """The statements that take events away.

    Args:
        ids: 16 bytes each.
        dialect: ``sqlite`` or ``postgresql``.
        schema: of our tables on PostgreSQL.
    """
    if dialect == "sqlite":
        answer = yield Statement(SQLITE_OPEN, (), returns=True)
    else:
        table = '"' + schema.replace('"', '""') + '".affidavit_events'
        answer = yield Statement(_POSTGRES_OPEN, (table,), returns=True)
    if not answer.rows or not answer.rows[0][0]:
        return []
    for table in ("affidavit_events",) if dialect == "sqlite" else ("affidavit_events", "affidavit_pending"):
        for start in range(0, len(ids), _PIECE):
            piece = ids[start : start + _PIECE]
            if dialect == "sqlite":
                marks = ", ".join("?" * len(piece))
                yield Statement(f"DELETE FROM {table} WHERE id IN ({marks})", tuple(piece))
            else:
                names = [str(UUID(bytes=each)) for each in piece]
                yield Statement(f"DELETE FROM {table} WHERE id = ANY (CAST(? AS uuid[]))", (names,))
    return []


def found_by(ids: Sequence[bytes], dialect: str) -> list[Statement]:
    """The statements that ask which of these events are there."""
    pieces = [ids[start : start + _PIECE] for start in range(0, len(ids), _PIECE)]
    if dialect == "sqlite":
        return [
            Statement(
                f"SELECT id FROM affidavit_events WHERE id IN ({', '.join('?' * len(piece))})",
                tuple(piece),
                returns=True,
            )
            for piece in pieces
        ]
    return [
        Statement(
            "SELECT id FROM affidavit_events WHERE id = ANY (CAST(? AS uuid[]))",
            ([str(UUID(bytes=each)) for each in piece],),
            returns=True,
        )
        for piece in pieces
    ]
