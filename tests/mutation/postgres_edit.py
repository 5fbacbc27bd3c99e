"""One random change to a table of PostgreSQL by a superuser, past every trigger.

Types, ``NOT NULL`` and ``CHECK`` hold against him too, as long as he leaves the catalogs alone: a value that
they refuse is drawn again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from tests.mutation import edit

__all__ = ["Row", "alter", "change", "draw"]

_KINDS = {"bigint": "integer", "integer": "integer", "text": "text", "bytea": "blob", "uuid": "blob"}
_EMPTY: dict[str, tuple[Any, ...]] = {
    "bigint": (0, 1, -1),
    "integer": (0, 1, -1),
    "text": ("x", "{}", ""),
    "bytea": (b"", bytes(32), bytes(16)),
    "uuid": (UUID(int=0), UUID(int=1)),
    "boolean": (True, False),
}
"""What may come where there was nothing."""
_ATTEMPTS = 20
_TRIED = 20
"""Rows, and values for each, that are tried."""

Connection = psycopg.Connection[tuple[Any, ...]]


class Row(NamedTuple):
    """Where a row stands: partition and place in it."""

    part: str
    place: str


def _rows(connection: Connection, table: str, where: str = "true") -> list[Row]:
    found = connection.execute(
        f"SELECT tableoid::regclass::text, ctid::text FROM {table} WHERE {where} ORDER BY 1, ctid".encode()
    )
    return [Row(*row) for row in found]


def draw(connection: Connection, table: str, dice: random.Random) -> Row | None:
    """A row of a table; ``None`` where it is empty."""
    rows = _rows(connection, table)
    return dice.choice(rows) if rows else None


def _type(connection: Connection, table: str, column: str) -> str:
    row = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attname = %s",
        (table, column),
    ).fetchone()
    assert row is not None
    return str(row[0])


def _stands(connection: Connection, table: str, row: Row, columns: str) -> Sequence[Any]:
    found = connection.execute(
        f"SELECT {columns} FROM {table} WHERE tableoid = %s::regclass AND ctid = %s::tid".encode(), row
    ).fetchone()
    assert found is not None
    return found


def _other(kind: str, value: Any, dice: random.Random) -> Any:
    """Another value of the same type."""
    if value is None:
        return dice.choice(_EMPTY[kind])
    if kind == "boolean":
        return not value
    if kind == "uuid":
        return UUID(bytes=edit.other_value(value.bytes, "blob", dice))
    if kind == "text":
        return edit.other_value(value.encode(), "text", dice)
    return edit.other_value(value, _KINDS[kind], dice)


def _attempt(connection: Connection, statement: str, values: Sequence[Any]) -> bool:
    """Whether a statement was taken."""
    with suppress(psycopg.Error, UnicodeError), connection.transaction():
        return connection.execute(statement.encode(), values).rowcount > 0
    return False


def alter(connection: Connection, table: str, column: str, dice: random.Random) -> str | None:
    """Change one value of a column; what was done, ``None`` where no row or no other value is allowed."""
    rows = _rows(connection, table, f"{column} IS NOT NULL") or _rows(connection, table)
    for row in dice.sample(rows, min(len(rows), _TRIED)):
        done = change(connection, table, column, row, "other", dice)
        if done is not None:
            return done
    return None


def change(
    connection: Connection, table: str, column: str, row: Row, how: str, dice: random.Random
) -> str | None:
    """Change a row.

    Args:
        connection: of a superuser, within a transaction, triggers off.
        table: its table; the parent where it is partitioned.
        column: the column that is changed, or that is another in the row's double.
        row: where it stands.
        how: ``other``, ``null``, ``delete`` or ``double``.
        dice: decides.

    Returns:
        What was done; ``None`` where the rules of the table allow nothing of this kind.
    """
    where = f"FROM {table}" if how == "delete" else f"{table}"
    match how:
        case "delete":
            done = _attempt(
                connection, f"DELETE {where} WHERE tableoid = %s::regclass AND ctid = %s::tid", row
            )
            return "row deleted" if done else None
        case "null":
            (before,) = _stands(connection, table, row, column)
            return None if before is None else _set(connection, table, column, row, before, lambda: None, 1)
        case "double":
            return _double(connection, table, row, dice)
        case _:
            kind = _type(connection, table, column)
            (before,) = _stands(connection, table, row, column)
            beside = f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT 50".encode()
            known = [value for (value,) in connection.execute(beside)]

            def other() -> Any:
                """Some columns allow a few words only: then those of other rows are tried."""
                return dice.choice(known) if known and not dice.randrange(4) else _other(kind, before, dice)

            return _set(connection, table, column, row, before, other, _ATTEMPTS)


def _set(
    connection: Connection,
    table: str,
    column: str,
    row: Row,
    before: Any,
    other: Callable[[], Any],
    attempts: int,
) -> str | None:
    for _ in range(attempts):
        new = other()
        if new != before and _attempt(
            connection,
            f"UPDATE {table} SET {column} = %s WHERE tableoid = %s::regclass AND ctid = %s::tid",
            (new, *row),
        ):
            return f"{row.part} {row.place}: {_short(before)} became {_short(new)}"
    return None


def _double(connection: Connection, table: str, row: Row, dice: random.Random) -> str | None:
    """Store the row a second time, with another value where two rows must differ."""
    columns = [
        (str(name), str(kind))
        for name, kind in connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = ''"
            " ORDER BY attnum",
            (table,),
        )
    ]
    names = ", ".join(name for name, _ in columns)
    stored = _stands(connection, table, row, names)
    for at in dice.sample(range(len(columns)), len(columns)):
        values = list(stored)
        values[at] = _other(columns[at][1], values[at], dice)
        marks = ", ".join(["%s"] * len(values))
        if _attempt(connection, f"INSERT INTO {table} ({names}) VALUES ({marks})", values):
            return f"row doubled with another {columns[at][0]}"
    return None


def _short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
