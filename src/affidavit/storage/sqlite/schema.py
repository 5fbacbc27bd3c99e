"""Whether the schema of a file is the one that the migrations make, and its values of the declared types.

Somebody with the file can drop the triggers that keep the events append-only, add one of his own, or store a
value of another type past every check (``PRAGMA writable_schema``). Nothing else would notice.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from affidavit.storage.evidence import Fault
from affidavit.storage.sqlite import migrate

__all__ = ["Column", "Layout", "layout", "schema_faults", "step_faults", "type_condition", "type_faults"]

_TYPES = {"INTEGER": "integer", "TEXT": "text", "BLOB": "blob"}
_SCRIPTS = ("index", "guard")
"""Files whose layout is one script: another one is made anew, not migrated."""
_MOST = 1_000
"""Values of a wrong type that are named of one table."""


class Column(NamedTuple):
    """A declared column: the values that may stand in it."""

    name: str
    types: tuple[str, ...]


class Layout(NamedTuple):
    """What a file must hold.

    Attributes:
        objects: type and name to the SQL text (``None`` for indexes of a UNIQUE).
        columns: table to its columns.
        keys: table to the columns of its primary key.
        steps: number to name and checksum of the migrations; empty for index and guard.
    """

    objects: dict[tuple[str, str], tuple[str, str | None]]
    columns: dict[str, tuple[Column, ...]]
    keys: dict[str, tuple[str, ...]]
    steps: dict[int, tuple[str, str]]


@lru_cache
def layout(part: str) -> Layout:
    """The layout of one file of this version.

    Args:
        part: :data:`migrate.EVENTS`, :data:`migrate.LOG` ``index`` or ``guard``.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        steps = {}
        if part in _SCRIPTS:
            text = files("affidavit.storage.sqlite").joinpath(f"{part}.sql").read_text(encoding="utf-8")
            for statement in migrate.statements(text):
                connection.execute(statement)
        else:
            done = migrate.migrate(connection, Path(part), part)
            steps = {step.number: (step.name, step.checksum) for step in done}
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
        return Layout(
            {
                (kind, name): (table, sql)
                for kind, name, table, sql in connection.execute(
                    "SELECT type, name, tbl_name, sql FROM sqlite_schema"
                )
            },
            {table: _columns(connection, table) for table in tables},
            {table: _key(connection, table) for table in tables},
            steps,
        )
    finally:
        connection.close()


def _columns(connection: sqlite3.Connection, table: str) -> tuple[Column, ...]:
    found = []
    for _, name, declared, required, _, key in connection.execute(f'PRAGMA table_info("{table}")'):
        types = (_TYPES[declared],) if declared else ("text", "integer")
        found.append(Column(name, types if required or key else (*types, "null")))
    return tuple(found)


def _key(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    rows = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
    return tuple(row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]) or ("rowid",)


def schema_faults(connection: sqlite3.Connection, part: str, *, whole: bool) -> Iterator[Fault]:
    """Every table, index, trigger and view that is missing, changed, or put on one of our tables.

    Args:
        connection: that reads the file.
        part: as for :func:`layout`.
        whole: whether the file is ours alone; else objects that do not touch our tables are somebody else's.
    """
    wanted = dict(layout(part).objects)
    tables = set(layout(part).columns)
    for kind, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema"):
        expected = wanted.pop((kind, name), None)
        if expected is None:
            if name.startswith("sqlite_stat") or (table.startswith("sqlite_stat")):
                continue
            if whole or table in tables or name.lower().startswith("affidavit"):
                rule = "stands in the schema although no migration makes it"
                yield Fault(name, "", kind, rule, "", _short(sql))
        elif _text(sql) != _text(expected[1]) or table != expected[0]:
            rule = "has another definition than the migrations give it"
            yield Fault(name, "", kind, rule, _short(expected[1]), _short(sql))
    for (kind, name), (_, sql) in wanted.items():
        if name != "sqlite_sequence":
            yield Fault(name, "", kind, "is missing from the schema", _short(sql))


def step_faults(connection: sqlite3.Connection, part: str) -> Iterator[Fault]:
    """Each note of a migration that is not the one of this version."""
    wanted = dict(layout(part).steps)
    if not wanted:
        return
    rows = connection.execute("SELECT number, name, checksum FROM affidavit_migrations").fetchall()
    for number, *stated in rows:
        expected = wanted.pop(number, None)
        if expected is None:
            rule = "is no migration of this version"
            yield Fault("affidavit_migrations", "number", str(number), rule, "", str(stated[0])[:100])
            continue
        for column, value, stands in zip(("name", "checksum"), expected, stated, strict=True):
            if value != stands:
                rule = "is not that of the migration of this version"
                yield Fault("affidavit_migrations", column, str(number), rule, value, str(stands)[:100])
    for number, (name, _) in wanted.items():
        yield Fault("affidavit_migrations", "number", str(number), "the migration is not noted", name, "")


def _text(sql: str | None) -> str | None:
    return None if sql is None else re.sub(r"\s+", " ", sql)


def _short(sql: str | None) -> str:
    return "" if sql is None else re.sub(r"\s+", " ", sql)[:160]


def type_condition(table: str, part: str) -> str:
    """An SQL expression that is true for a row whose values all have the declared types."""
    return " AND ".join(
        f"typeof({column.name}) IN ({', '.join(repr(kind) for kind in column.types)})"
        for column in layout(part).columns[table]
    )


def type_faults(connection: sqlite3.Connection, table: str, part: str, where: str = "1") -> Iterator[Fault]:
    """Each value of a table that has another type than its column declares.

    Args:
        connection: that reads the file.
        table: one of ours.
        part: its file, as for :func:`layout`.
        where: an SQL condition on the rows.
    """
    plan = layout(part)
    columns, keys = plan.columns[table], plan.keys[table]
    shown = ", ".join([*(f"quote({key})" for key in keys), *(f"typeof({each.name})" for each in columns)])
    rows = connection.execute(
        f"SELECT {shown} FROM {table} WHERE ({where}) AND NOT ({type_condition(table, part)}) LIMIT {_MOST}"
    ).fetchall()
    for row in rows:
        key = ", ".join(_plain(value) for value in row[: len(keys)])
        for column, kind in zip(columns, row[len(keys) :], strict=True):
            kind = _plain(kind)
            if kind not in column.types:
                rule = "has a value of another type than the column declares"
                yield Fault(table, column.name, key, rule, " or ".join(column.types), kind)


def _plain(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
