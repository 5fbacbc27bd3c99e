"""Editing a database file behind the program's back, so that nothing but the value tells of it.

Triggers, NOT NULL, CHECK and STRICT are taken out of the schema for the edit and put back as they were, which
anybody who holds the file can do.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["alter", "bare", "columns", "edited", "other_value", "row_key", "tables"]


@contextmanager
def bare(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file without any of its rules; they stand again afterwards, word for word."""
    schema = _strip(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = bytes
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("PRAGMA synchronous = OFF")
    try:
        yield connection
    finally:
        connection.close()
        _restore(path, schema)


def _strip(path: Path) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(path, isolation_level=None)
    schema = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('table', 'trigger') AND sql IS NOT NULL"
    ).fetchall()
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("DELETE FROM sqlite_schema WHERE type = 'trigger'")
    for kind, name, sql in schema:
        if kind == "table" and not name.startswith("sqlite_"):
            connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (_relaxed(sql), name))
    _bump(connection)
    connection.execute("COMMIT")
    connection.close()
    return schema


def _relaxed(sql: str) -> str:
    """A definition with the same columns and keys and no other rule."""
    without_key = re.sub(r"(?<!KEY) NOT NULL", "", sql)
    return re.sub(r"\bSTRICT,? ?", "", without_key)


def _restore(path: Path, schema: list[tuple[str, str, str]]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.execute("PRAGMA writable_schema = ON")
    for kind, name, sql in schema:
        if kind == "table" and not name.startswith("sqlite_"):
            connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (sql, name))
        elif kind == "trigger":
            table = re.search(r"\bON (\w+)", sql)
            assert table is not None
            connection.execute(
                "INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql)"
                " VALUES ('trigger', ?, ?, 0, ?)",
                (name, table[1], sql),
            )
    _bump(connection)
    connection.execute("COMMIT")
    connection.close()


def _bump(connection: sqlite3.Connection) -> None:
    """Let every other connection read the schema anew."""
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    connection.execute(f"PRAGMA schema_version = {version + 1}")


@contextmanager
def edited(path: Path) -> Iterator[sqlite3.Connection]:
    """As :func:`bare`, within one transaction that is committed at the end."""
    with bare(path) as connection:
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")


def tables(path: Path) -> list[str]:
    """Every table of a file, SQLite's own table of sequences included."""
    connection = sqlite3.connect(path)
    try:
        return [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            )
            if not name.startswith("sqlite_stat")
        ]
    finally:
        connection.close()


def columns(path: Path, table: str) -> list[str]:
    """The columns of a table."""
    connection = sqlite3.connect(path)
    try:
        return [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
    finally:
        connection.close()


def row_key(connection: sqlite3.Connection, table: str) -> list[str]:
    """The columns that name a row: ``rowid``, or the primary key of a table without one."""
    (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    if b"WITHOUT ROWID" not in sql:
        return ["rowid"]
    rows = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    return [row[1].decode() for row in sorted(rows, key=lambda row: row[5]) if row[5]]


def other_value(value: Any, kind: str, dice: random.Random) -> Any:
    """Another value than the one that stands there.

    Args:
        value: an integer, text as bytes, a blob, or ``None``.
        kind: what ``typeof`` says of it.
        dice: decides.
    """
    if kind == "null":
        return dice.choice([0, 1, "x", b"\x00" * 16])
    if kind == "integer":
        return dice.choice([value + 1, value - 1, value ^ (1 << dice.randrange(40)), 0 if value else 1])
    if kind == "real":
        return value + 1.0
    changed = bytearray(value or b"\x00")
    at = dice.randrange(len(changed))
    if kind == "blob":
        changed[at] ^= 1 << dice.randrange(8)
        return bytes(changed) if value else b"\x01"
    return _other_text(value, changed, at, dice)


def _other_text(value: bytes, changed: bytearray, at: int, dice: random.Random) -> str:
    match dice.randrange(4):
        case 0:
            return value.decode("utf-8", "replace") + "x"
        case 1:
            return value[:-1].decode("utf-8", "replace") if value else "x"
        case _:
            changed[at] = ord("y") if changed[at] == ord("x") else ord("x")
            return changed.decode("utf-8", "replace")


ONLY_LOWER = {("sqlite_sequence", "seq")}
"""A raised sequence leaves a gap in the places, which is no deletion; a lowered one gives them out twice."""


def alter(path: Path, table: str, column: str, dice: random.Random) -> str | None:
    """Change one value of a column; what was done, ``None`` where the table is empty."""
    with edited(path) as connection:
        keys = ", ".join(row_key(connection, table))
        rows = connection.execute(f"SELECT {keys}, typeof({column}), {column} FROM {table}").fetchall()
        if not rows:
            return None
        *key, kind, value = dice.choice(rows)
        where = " AND ".join(f"{each} = ?" for each in keys.split(", "))
        named = _typed(connection, table, keys, key)
        for _ in range(50):
            new = other_value(value, kind.decode(), dice)
            if (table, column) in ONLY_LOWER:
                new = value - dice.randrange(1, 9)
            with suppress(sqlite3.IntegrityError):  # another row has this key; a second value is tried
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", [new, *named])
                return f"{key}: {value!r} to {new!r}"
        raise AssertionError(f"{table}.{column} cannot be edited")


def _typed(connection: sqlite3.Connection, table: str, keys: str, key: list[object]) -> list[object]:
    """Keys as they compare: text that was read as bytes must be text again."""
    kinds = connection.execute(
        f"SELECT {', '.join(f'typeof({each})' for each in keys.split(', '))} FROM {table} LIMIT 1"
    )
    return [
        value.decode() if isinstance(value, bytes) and kind == b"text" else value
        for value, kind in zip(key, kinds.fetchone(), strict=True)
    ]
