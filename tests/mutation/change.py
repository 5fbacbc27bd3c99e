"""One random change to the files of a database, or to a bundle."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.mutation import edit

__all__ = ["Cell", "Change", "Choice", "apply", "cells_of", "flip"]


class Cell(NamedTuple):
    """A column of a table, and how many rows the table has."""

    file: str
    table: str
    column: str
    rows: int


class Change(NamedTuple):
    """What was done, in words that name the place."""

    file: str
    table: str
    column: str
    what: str


class Choice:
    """Draws a cell: for two thirds any value of any file alike, for one third any checked column alike.

    The second draw makes small tables count: settings, checkpoints and heads have few rows, and among all
    values of all files one of theirs would be drawn once in ten thousand.

    Args:
        cells: all there are.
        operational: columns that nothing checks; the second draw leaves them out.
    """

    def __init__(self, cells: Sequence[Cell], operational: frozenset[str]) -> None:
        self.cells = cells
        self._weights = [cell.rows for cell in self.cells]
        self._checked = [cell for cell in self.cells if f"{cell.table}.{cell.column}" not in operational]

    def draw(self, dice: random.Random) -> Cell:
        """One cell's column; the row is drawn when it is changed."""
        if dice.randrange(3):
            return dice.choices(self.cells, self._weights)[0]
        return dice.choice(self._checked)


def cells_of(folder: Path, files: Sequence[str]) -> list[Cell]:
    """The cells of SQLite files in a folder."""
    return [
        Cell(name, table, column, rows)
        for name in files
        for table in edit.tables(folder / name)
        if (rows := _rows(folder / name, table))
        for column in edit.columns(folder / name, table)
    ]


def _rows(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    try:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(count)
    finally:
        connection.close()


def apply(folder: Path, cell: Cell, dice: random.Random) -> Change:
    """Change one value, or delete or double its row."""
    with edit.edited(folder / cell.file) as connection:
        row = _row(connection, cell, dice)
        done = None
        while done is None:
            kind = dice.choices(("other", "null", "type", "delete", "double"), (60, 10, 14, 8, 8))[0]
            done = _DONE[kind](connection, cell, row, dice)
    return Change(cell.file, cell.table, cell.column, f"{_shown(row)}: {done}")


def _row(connection: sqlite3.Connection, cell: Cell, dice: random.Random) -> Mapping[str, tuple[str, Any]]:
    """The drawn row's key: column to type and value."""
    keys = edit.row_key(connection, cell.table)
    names = ", ".join(f"typeof({key}), {key}" for key in keys)
    found = connection.execute(
        f"SELECT {names} FROM {cell.table} LIMIT 1 OFFSET ?", (dice.randrange(cell.rows),)
    ).fetchone()
    return {
        key: (found[2 * at].decode(), _plain(found[2 * at].decode(), found[2 * at + 1]))
        for at, key in enumerate(keys)
    }


def _plain(kind: str, value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if kind == "text" else value


def _where(row: Mapping[str, tuple[str, Any]]) -> tuple[str, list[Any]]:
    return " AND ".join(f"{key} IS ?" for key in row), [value for _, value in row.values()]


def _shown(row: Mapping[str, tuple[str, Any]]) -> str:
    return ", ".join(f"{value.hex() if isinstance(value, bytes) else value}" for _, value in row.values())[
        :120
    ]


def _stands(
    connection: sqlite3.Connection, cell: Cell, row: Mapping[str, tuple[str, Any]]
) -> tuple[str, Any]:
    where, values = _where(row)
    found = connection.execute(
        f"SELECT typeof({cell.column}), {cell.column} FROM {cell.table} WHERE {where}", values
    ).fetchone()
    if found is None:
        return "gone", None  # the column names the row: it has another name now
    return found[0].decode(), found[1]


def _set(
    connection: sqlite3.Connection,
    cell: Cell,
    row: Mapping[str, tuple[str, Any]],
    before: tuple[str, Any],
    new: Any,
) -> str | None:
    """Store a value; what changed, ``None`` where it cannot be stored or is stored as what it was."""
    where, values = _where(row)
    connection.execute("SAVEPOINT attempt")
    with suppress(sqlite3.Error, OverflowError):
        connection.execute(f"UPDATE {cell.table} SET {cell.column} = ? WHERE {where}", [new, *values])
        moved = {**row, cell.column: ("", new)} if cell.column in row else row
        if cell.column in row or _stands(connection, cell, moved) != before:
            return f"{_short(before[1])} became {_short(new)}"
    connection.execute("ROLLBACK TO attempt")
    return None


def _short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _other(connection: sqlite3.Connection, cell: Cell, row: Any, dice: random.Random) -> str | None:
    kind, value = before = _stands(connection, cell, row)
    new = edit.other_value(value, kind, dice)
    if new == _plain(kind, value):
        return None
    return _set(connection, cell, row, before, new)


def _null(connection: sqlite3.Connection, cell: Cell, row: Any, dice: random.Random) -> str | None:
    before = _stands(connection, cell, row)
    return None if before[0] == "null" else _set(connection, cell, row, before, None)


def _type(connection: sqlite3.Connection, cell: Cell, row: Any, dice: random.Random) -> str | None:
    """The same content as another type: text as a blob, a blob as its hex digits, a number as text."""
    kind, value = before = _stands(connection, cell, row)
    if kind == "null":
        return None
    if kind == "text":
        new: Any = bytes(value)
    else:
        new = value.hex() if kind == "blob" else f"n{value}"
    return _set(connection, cell, row, before, new)


def _delete(connection: sqlite3.Connection, cell: Cell, row: Any, dice: random.Random) -> str | None:
    where, values = _where(row)
    connection.execute(f"DELETE FROM {cell.table} WHERE {where}", values)
    return "row deleted"


def _double(connection: sqlite3.Connection, cell: Cell, row: Any, dice: random.Random) -> str | None:
    """Store the row a second time, under another key where the key must differ."""
    names = [name.decode() for _, name, *_ in connection.execute(f"PRAGMA table_info({cell.table})")]
    where, values = _where(row)
    stored = connection.execute(
        f"SELECT {', '.join(f'typeof({n}), {n}' for n in names)} FROM {cell.table} WHERE {where}", values
    ).fetchone()
    second = {name: _plain(stored[2 * at].decode(), stored[2 * at + 1]) for at, name in enumerate(names)}
    kinds = {name: stored[2 * at].decode() for at, name in enumerate(names)}
    for name in dice.sample(names, len(names)):
        raw = stored[2 * names.index(name) + 1]
        attempt = {**second, name: edit.other_value(raw, kinds[name], dice)}
        with suppress(sqlite3.Error, OverflowError):
            connection.execute(
                f"INSERT INTO {cell.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                list(attempt.values()),
            )
            return f"row doubled with another {name}"
    return None


_DONE = {"other": _other, "null": _null, "type": _type, "delete": _delete, "double": _double}


def flip(path: Path, dice: random.Random) -> Change:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    at = dice.randrange(len(content))
    content[at] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    return Change(path.name, "", "", f"a bit of byte {at} of {len(content)} flipped")
