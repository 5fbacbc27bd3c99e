"""Every value of every table is checked, or stands in the list of operational columns with a reason."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mutation import edit
from tests.mutation.copies import FILES, Copy
from tests.mutation.operational import PAGE, operational_columns

ONLY_LOWER = {("sqlite_sequence", "seq")}
"""A raised sequence leaves a gap in the places, which is no deletion; a lowered one gives them out twice."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A database with a row of every kind."""
    return Copy(tmp_path_factory.mktemp("coverage"))


@pytest.fixture
def database(made: Copy) -> Iterator[Copy]:
    """The same, put back as it was after the test."""
    yield made
    made.restore()


def test_the_database_is_sound_before_anybody_edits_it(database: Copy) -> None:
    """Without an edit fsck finds nothing, and counts every entry once."""
    total = database.verdict()
    assert total.sound, list(total.lines())
    assert total.end == total.verified + total.redacted + total.expired + total.pruned > 300
    assert total.redacted == 3
    assert total.expired == 5
    assert total.pruned == 4


@pytest.mark.parametrize("name", FILES)
def test_each_edited_value_is_named(database: Copy, name: str) -> None:
    """Of every column of every table one value is changed: fsck names table and column or row."""
    missed = []
    dice = random.Random(f"coverage of {name}")
    listed = operational_columns()
    path = database.path(name)
    for table in edit.tables(path):
        for column in edit.columns(path, table):
            if f"{table}.{column}" in listed:
                continue
            what = _edit(path, table, column, dice)
            if what is None:
                assert table in ("affidavit_permit", "affidavit_alarms"), f"{table} has no row to edit"
                continue
            failures = database.verdict().failures
            if not any(_names(failure.what, table) for failure in failures):
                missed.append((table, column, what, [failure.line() for failure in failures[:3]]))
            database.restore()
    assert missed == [], "\n".join(map(str, missed))


def _names(what: str, table: str) -> bool:
    """Whether a failure is about this table; one of leaves may be named at the row, and the reverse."""
    twins = {"affidavit_leaves": "affidavit_events", "affidavit_guard_manifests": "affidavit_manifests"}
    return what.startswith(table) or (table in twins and what.startswith(twins[table]))


def _edit(path: Path, table: str, column: str, dice: random.Random) -> str | None:
    """Change one value; what was done, ``None`` where the table is empty."""
    with edit.edited(path) as connection:
        keys = ", ".join(edit.row_key(connection, table))
        rows = connection.execute(f"SELECT {keys}, typeof({column}), {column} FROM {table}").fetchall()
        if not rows:
            return None
        *key, kind, value = dice.choice(rows)
        where = " AND ".join(f"{each} = ?" for each in keys.split(", "))
        named = _typed(connection, table, keys, key)
        for _ in range(50):
            new = edit.other_value(value, kind.decode(), dice)
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


def test_the_list_names_only_columns_that_are_there(made: Copy) -> None:
    """The page lists no column that no file has."""
    there = {
        f"{table}.{column}"
        for name in FILES
        for table in edit.tables(made.path(name))
        for column in edit.columns(made.path(name), table)
    }
    assert operational_columns() - there == set()
    assert len(operational_columns()) == 21


def test_every_table_stands_on_the_page(made: Copy) -> None:
    """The page says of every table how it is checked, or lists its columns."""
    text = PAGE.read_text("utf-8")
    tables = {table for name in FILES for table in edit.tables(made.path(name))}
    assert [table for table in sorted(tables) if f"`{table}" not in text] == []
